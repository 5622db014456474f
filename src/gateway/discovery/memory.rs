//! What each question was last answered: a server that cannot tell changes nothing (as RFC 8767 has it), and a name
//! that is suddenly gone is believed only when it stays so.

use std::collections::HashMap;

use super::question::{Answer, Question, Record};

/// So many answers in a row must say that there is nothing before that is taken for the truth: a service without pods
/// and a DNS server that has lost its data look the same.
pub const CONFIRMATIONS: u32 = 3;

/// The last answers to the questions of one source.
#[derive(Debug, Default)]
pub struct Memory(HashMap<Question, Known>);

#[derive(Debug, Default)]
struct Known {
    /// None: nothing that can be relied on was answered so far.
    records: Option<Vec<Record>>,
    nothing_in_a_row: u32,
}

impl Memory {
    /// Takes in what came of a question; gives the records that hold now, or none where that is not known.
    pub fn settle(&mut self, question: &Question, answer: Answer) -> Option<Vec<Record>> {
        let known = self.0.entry(question.clone()).or_default();
        known.nothing_in_a_row = match answer {
            Answer::Nothing => known.nothing_in_a_row.saturating_add(1),
            _ => 0,
        };
        match answer {
            Answer::Records(records) => known.records = Some(records),
            Answer::Nothing if known.nothing_in_a_row >= CONFIRMATIONS => known.records = Some(Vec::new()),
            Answer::Nothing | Answer::Failed(_) => {}
        }
        known.records.clone()
    }

    /// Forgets the questions that are no longer asked.
    pub fn retain(&mut self, is_asked: impl Fn(&Question) -> bool) {
        self.0.retain(|question, _| is_asked(question));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::super::question::Kind;
    use super::*;

    fn records(last: u8) -> Vec<Record> {
        vec![Record::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))]
    }

    fn settle_all(answers: Vec<Answer>) -> Option<Vec<Record>> {
        let (mut memory, question) = (Memory::default(), Question::new("worker.", Kind::A));
        let settle = |_, answer| memory.settle(&question, answer);
        answers.into_iter().fold(None, settle)
    }

    fn failed() -> Answer {
        Answer::Failed("SERVFAIL".into())
    }

    #[test]
    fn a_failure_keeps_what_was_known() {
        assert_eq!(settle_all(vec![failed()]), None);
        assert_eq!(
            settle_all(vec![Answer::Records(records(1)), failed(), failed()]),
            Some(records(1))
        );
    }

    #[test]
    fn nothing_is_believed_the_third_time_in_a_row() {
        use Answer::Nothing;
        let found = Answer::Records(records(1));
        assert_eq!(settle_all(vec![Nothing, Nothing]), None);
        assert_eq!(settle_all(vec![Nothing, Nothing, Nothing]), Some(vec![]));
        assert_eq!(
            settle_all(vec![found.clone(), Nothing, Nothing]),
            Some(records(1))
        );
        assert_eq!(
            settle_all(vec![found.clone(), Nothing, Nothing, Nothing]),
            Some(vec![])
        );
        assert_eq!(
            settle_all(vec![found, Nothing, Nothing, failed(), Nothing]),
            Some(records(1)),
            "a failure confirms nothing"
        );
    }

    fn any_answer() -> impl Strategy<Value = Answer> {
        prop_oneof![
            (1..4u8).prop_map(|last| Answer::Records(records(last))),
            Just(Answer::Nothing),
            Just(failed()),
        ]
    }

    proptest! {
        /// What holds is always what the last answer with records said, or nothing where enough answers said so since.
        #[test]
        fn what_holds_follows_from_the_answers(answers in prop::collection::vec(any_answer(), 0..12)) {
            let last = answers.iter().rposition(|answer| matches!(answer, Answer::Records(_)));
            let since = last.map_or(&answers[..], |last| &answers[last + 1..]);
            let is_gone = since
                .windows(CONFIRMATIONS as usize)
                .any(|window| window.iter().all(|answer| *answer == Answer::Nothing));
            let wanted = match last.map(|last| answers[last].clone()) {
                _ if is_gone => Some(vec![]),
                Some(Answer::Records(records)) => Some(records),
                _ => None,
            };
            prop_assert_eq!(settle_all(answers), wanted);
        }
    }
}
