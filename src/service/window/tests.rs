//! Every order of calls and answers against a list: what leaves, in which order, and what counts as under way.

mod prop {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::super::Window;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        /// A call begins that is answered later, about so many bytes.
        Open(usize),
        /// A call begins and is answered at once.
        Pass,
        /// One of the unanswered calls, modulo their number, is answered.
        Settle(usize),
        /// As `Settle`, all of them, the last first.
        SettleAll,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..3000_usize).prop_map(Op::Open),
            2 => Just(Op::Pass),
            4 => any::<usize>().prop_map(Op::Settle),
            1 => Just(Op::SettleAll),
        ]
    }

    /// A call as the list has it.
    #[derive(Debug)]
    struct Listed {
        name: usize,
        number: u32,
        bytes: usize,
        answered: bool,
        left: bool,
    }

    /// The window, the list, and what has left so far by either.
    struct Pair {
        ordered: bool,
        window: Window<usize>,
        list: Vec<Listed>,
        left: Vec<usize>,
        expected: Vec<usize>,
    }

    impl Pair {
        fn begin(&mut self, number: u32, bytes: usize, answered: bool) -> usize {
            let name = self.list.len();
            self.list.push(Listed { name, number, bytes, answered, left: false });
            name
        }

        fn play(&mut self, op: Op) {
            match op {
                Op::Open(bytes) => {
                    let number = self.window.open(bytes);
                    self.begin(number, bytes, false);
                }
                Op::Pass => {
                    let name = self.begin(0, 0, true);
                    if self.window.is_clear() {
                        self.left.push(name);
                    } else {
                        self.window.pass(name);
                    }
                    self.expect(name);
                }
                Op::Settle(which) => {
                    let waiting: Vec<usize> =
                        self.list.iter().filter(|call| !call.answered).map(|call| call.name).collect();
                    if !waiting.is_empty() {
                        self.settle(waiting[which % waiting.len()]);
                    }
                }
                Op::SettleAll => {
                    let waiting: Vec<usize> =
                        self.list.iter().filter(|call| !call.answered).map(|call| call.name).collect();
                    waiting.into_iter().rev().for_each(|name| self.settle(name));
                }
            }
        }

        fn settle(&mut self, name: usize) {
            let call = &mut self.list[name];
            call.answered = true;
            let at_once = self.window.settle(call.number, call.bytes, name);
            self.left.extend(at_once);
            while let Some(next) = self.window.next() {
                self.left.push(next);
            }
            self.expect(name);
        }

        /// What may leave now that `name` is answered.
        fn expect(&mut self, name: usize) {
            if !self.ordered {
                self.list[name].left = true;
                return self.expected.push(name);
            }
            for call in self.list.iter_mut().skip_while(|call| call.left).take_while(|call| call.answered) {
                call.left = true;
                self.expected.push(call.name);
            }
        }

        fn check(&self) {
            assert_eq!(self.left, self.expected);
            let (ordered, list) = (self.ordered, &self.list);
            let under_way = list.iter().filter(|call| if ordered { !call.left } else { !call.answered });
            assert_eq!(self.window.len(), under_way.count());
            let held = list.iter().filter(|call| !call.answered).map(|call| call.bytes);
            assert_eq!(self.window.held(), held.sum::<usize>());
        }
    }

    fn config() -> ProptestConfig {
        let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/service_window.txt");
        ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
            ..ProptestConfig::default()
        }
    }

    proptest! {
        #![proptest_config(config())]

        /// Answers leave in order where that is wanted, at once where it is not, and each once, also where the numbers
        /// wrap around.
        #[test]
        fn answers_leave_as_the_protocol_wants(
            ordered in any::<bool>(),
            first in prop_oneof![Just(0), Just(u32::MAX), (u32::MAX - 20)..u32::MAX],
            ops in vec(op(), 0..120),
        ) {
            let mut window = Window::new(ordered);
            window.first = first;
            let mut pair = Pair { ordered, window, list: Vec::new(), left: Vec::new(), expected: Vec::new() };
            for op in ops {
                pair.play(op);
                pair.check();
            }
            pair.play(Op::SettleAll);
            pair.check();
            prop_assert_eq!(pair.left.len(), pair.list.len());
        }
    }
}
