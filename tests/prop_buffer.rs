//! Properties of the buffers: whatever a program does, they agree with a reference made of plain vectors.

mod interpreter;

mod prop {
    use linkpoll_model::buffer::{programs, scenarios};
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::interpreter::run;

    /// The number of cases is `PROPTEST_CASES`, or proptest's default. What has failed once is tried first.
    fn config() -> ProptestConfig {
        let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/prop_buffer.txt");
        ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
            max_shrink_iters: 50_000,
            ..ProptestConfig::default()
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn buffers_agree_with_their_reference(program in programs(80)) {
            run(&program).map_err(|difference| TestCaseError::fail(difference.to_string()))?;
        }
    }

    #[test]
    fn every_scenario_agrees_with_its_reference() {
        for (name, program) in scenarios::all() {
            if let Err(difference) = run(&program) {
                panic!("{name}: {difference}");
            }
        }
    }
}
