//! The driver on a ring that is played: completions in orders that the kernel produces only now and then.

mod played;
mod script;

use script::{Step, run};

/// A connection that the kernel does not let go of is not given away: it breaks, and the loop has not waited for long.
#[test]
fn a_detach_that_comes_to_nothing_is_bounded() {
    let slept = script::detach_in_vain().expect("the promises are kept");
    assert!(!slept.is_zero() && slept <= std::time::Duration::from_millis(20), "{slept:?}");
}

/// The block of a large message stays while the ring may write to it, also when its connection is closed and the receive
/// does not end. Broken by letting go of it at the close.
#[test]
fn a_block_that_is_written_to_goes_to_nobody_else() {
    for pieces in [&[][..], &[Step::Arrive(0, 1000), Step::Turn]] {
        let want = |who| Step::Want(who, 5000);
        let begin = [Step::Turn, want(0), Step::Turn, Step::Turn];
        let end = [Step::Obey(4), Step::Close(0), Step::Obey(0), want(1), want(2), Step::Turn, Step::Turn];
        let steps = [&begin[..], pieces, &end].concat();
        assert_eq!(run(&steps, 2 << 20), Ok(()));
    }
}

mod prop {
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::script::{run, steps};

    fn config() -> ProptestConfig {
        let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/prop_uring.txt");
        ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
            max_shrink_iters: 20_000,
            ..ProptestConfig::default()
        }
    }

    proptest! {
        #![proptest_config(config())]

        /// Whatever the order of completions, and whatever is done meanwhile: bytes come in order and before the end,
        /// memory is not given back while the ring may read it, everything that is closed is told once and in time, and
        /// in the end nothing is left.
        #[test]
        fn every_order_of_completions_keeps_the_promises(steps in steps(), is_scarce in any::<bool>()) {
            let memory = if is_scarce { 256 << 10 } else { 2 << 20 };
            run(&steps, memory).map_err(TestCaseError::fail)?;
        }
    }
}
