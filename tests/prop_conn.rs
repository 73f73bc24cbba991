//! Properties of connections: a real loop on a real driver, around a kernel that is played. Whatever peers, kernel
//! and handlers do, callbacks come in their order, no byte is lost or out of place, and everything ends.

mod scripted;

mod prop {
    use linkpoll_model::conn::{Program, programs, scenarios};
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::scripted::run;

    /// The number of cases is `PROPTEST_CASES`, or proptest's default. What has failed once is tried first.
    fn config() -> ProptestConfig {
        let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/prop_conn.txt");
        ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
            max_shrink_iters: 20_000,
            ..ProptestConfig::default()
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn connections_keep_their_promises(program in programs(60)) {
            run(&program, 1).map_err(TestCaseError::fail)?;
        }

        /// The same on a kernel that receives and sends for several connections at once.
        #[test]
        fn connections_keep_their_promises_in_batches(program in programs(60), batch in 2..5_usize) {
            run(&program, batch).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn every_scenario_keeps_its_promises() {
        for (name, program) in scenarios::all() {
            for batch in [1, 2, 64] {
                if let Err(fault) = run(&program, batch) {
                    panic!("{name} in batches of {batch}: {fault}");
                }
            }
        }
    }

    /// The seeds of the fuzzer are the scenarios.
    #[test]
    fn scenarios_survive_their_form_in_bytes() {
        for (name, program) in scenarios::all() {
            assert_eq!(Program::decode(&program.encode()), program, "{name}");
        }
    }
}
