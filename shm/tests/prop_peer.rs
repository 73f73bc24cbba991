//! Properties of a session, whatever its peer writes.

mod script;

mod prop {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::script::{KEEPS_TO_PROTOCOL, play};

    /// The number of cases is `PROPTEST_CASES`, or proptest's default. What has failed once is tried first.
    fn config() -> ProptestConfig {
        let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/regressions/prop_peer.txt");
        ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
            ..ProptestConfig::default()
        }
    }

    /// The seeds of the fuzz target, among them what it has found.
    #[test]
    fn seeds_are_played() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/shm_peer");
        let mut seen = (0, 0);
        for seed in std::fs::read_dir(seeds).expect("a directory").flatten() {
            let script = std::fs::read(seed.path()).expect("a seed");
            let played = std::panic::catch_unwind(|| play(&script));
            let played = played.unwrap_or_else(|_| panic!("{}", seed.path().display()));
            seen = (seen.0 + usize::from(played.honest), seen.1 + usize::from(played.failed));
        }
        assert!(seen.0 >= 5 && seen.1 >= 10, "honest, and failed: {seen:?}");
    }

    proptest! {
        #![proptest_config(config())]

        /// Whatever a peer does, its session goes on or ends with an error.
        #[test]
        fn a_peer_costs_its_own_session_and_nothing_else(script in vec(any::<u8>(), 0..400)) {
            play(&script);
        }

        /// A peer keeps to the protocol: bytes arrive, whoever sleeps, ends or leaves, and when.
        #[test]
        fn a_peer_that_keeps_to_the_protocol_costs_no_error(mut script in vec(any::<u8>(), 1..400)) {
            script[0] |= KEEPS_TO_PROTOCOL;
            let played = play(&script);
            prop_assert!(!(played.honest && played.failed), "{played:?}");
        }
    }
}
