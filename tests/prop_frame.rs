//! Properties of the codec of length-prefixed messages: however a stream is cut into pieces, the same messages come
//! out, and what was written is read again.

mod framing;

mod prop {
    use linkpoll::buffer::{BlockPool, Chain, PoolOptions, SegmentWriter};
    use linkpoll::service::{Cut, Frame, FrameError, FrameOptions};
    use linkpoll_model::frame::{Case, cases, scenarios};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::framing::run;

    /// The number of cases is `PROPTEST_CASES`, or proptest's default. What has failed once is tried first.
    fn config() -> ProptestConfig {
        let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/prop_frame.txt");
        ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
            ..ProptestConfig::default()
        }
    }

    /// A writer whose blocks already have something in them, so that messages cross their ends.
    fn writer(used: usize) -> SegmentWriter {
        let mut writer = SegmentWriter::new(BlockPool::new(PoolOptions::default()));
        writer.write(&vec![0; used]).expect("a block");
        drop(writer.take().expect("no hole is open"));
        writer
    }

    fn read_all(mut chain: Chain) -> Vec<Vec<u8>> {
        let frame = Frame::default();
        let mut messages = Vec::new();
        while let Cut::Message(mut payload) = frame.cut(&mut chain).expect("no message is too long") {
            messages.push(payload.contiguous().expect("memory").to_vec());
        }
        assert!(chain.is_empty(), "bytes behind the last message");
        messages
    }

    proptest! {
        #![proptest_config(config())]

        /// Whatever the pieces, the messages are those of the reference, and so are the bytes said to be missing.
        #[test]
        fn messages_do_not_depend_on_pieces(case in cases()) {
            run(&case).map_err(TestCaseError::fail)?;
        }

        /// Bytes that were never a message are read as the reference reads them.
        #[test]
        fn any_bytes_are_read(bytes in vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..200)) {
            run(&Case::decode(&bytes)).map_err(TestCaseError::fail)?;
        }

        /// What is written in either way is read again, also when length and payload lie in different blocks.
        #[test]
        fn what_is_written_is_read_again(
            used in prop_oneof![Just(0_usize), 65_500..65_540_usize, 0..70_000_usize],
            lengths in vec((prop_oneof![0..10_usize, 60_000..140_000_usize], any::<bool>()), 0..6),
        ) {
            let mut writer = writer(used);
            let mut written = Vec::new();
            for (length, at_once) in lengths {
                let payload: Vec<u8> = (0..length).map(|at| at.to_le_bytes()[0]).collect();
                if at_once {
                    Frame::put(&payload, &mut writer).expect("memory");
                } else {
                    let body = |to: &mut SegmentWriter| {
                        payload.chunks(50_000).try_for_each(|part| to.write(part)).map_err(Into::into)
                    };
                    Frame::put_with(&mut writer, body).expect("memory");
                }
                written.push(payload);
            }
            prop_assert_eq!(read_all(writer.take().expect("no hole is open")), written);
        }
    }

    #[test]
    fn every_scenario_is_read_as_by_the_reference() {
        for (name, case) in scenarios() {
            if let Err(fault) = run(&case) {
                panic!("{name}: {fault}");
            }
        }
    }

    /// A stream is read the same with its header cut at each place.
    #[test]
    fn a_header_may_be_split_anywhere() {
        for first in 1..12 {
            for second in 1..12 {
                let stream = vec![0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 1, 9];
                for way in 0..=u8::MAX {
                    let case =
                        Case { limit: 3, way, pieces: vec![first, second, 200], stream: stream.clone() };
                    run(&case).expect("the reference agrees");
                }
            }
        }
    }

    /// A message of just the limit is read, one of a byte more is an error that says both lengths, before its bytes
    /// have come.
    #[test]
    fn one_byte_over_the_limit_is_an_error() {
        let frame = Frame::new(FrameOptions { max_payload: 1000 });
        let mut writer = writer(0);
        Frame::put(&[7; 1000], &mut writer).expect("memory");
        let mut input = writer.take().expect("no hole is open");
        assert!(matches!(frame.cut(&mut input), Ok(Cut::Message(payload)) if payload.len() == 1000));
        writer.write(&1001_u32.to_be_bytes()).expect("memory");
        let mut input = writer.take().expect("no hole is open");
        let error = frame.cut(&mut input).expect_err("too long");
        assert_eq!(error, FrameError::TooLong { length: 1001, limit: 1000 });
        assert_eq!(error.to_string(), "a message of 1001 bytes is over the limit of 1000");
    }
}
