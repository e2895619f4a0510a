use alloc::vec;

use super::*;

const CONFIG: MembersConfig = MembersConfig { session_ms: 2_000, settle_ms: 5_000 };
const BEAT_MS: u64 = 100;

/// A membership and what it has asked for so far.
struct Bench {
    membership: Membership,
    now: u64,
    questions: VecDeque<(u64, Request)>,
    told: Vec<Output>,
}

impl Bench {
    fn new(lanes: u32) -> Self {
        let now = 1_000;
        let membership = Membership::new(CONFIG, lanes, now);
        let mut bench = Self { membership, now, questions: VecDeque::new(), told: Vec::new() };
        bench.collect();
        bench
    }

    /// A member of generation 1 that leads and has all lanes.
    fn member(lanes: u32) -> Self {
        let mut bench = Self::new(lanes);
        bench.answer(Ok(Answer::IdRequired("me".into())));
        bench.joined(1, "me", &[]);
        bench.synced_own();
        bench
    }

    fn collect(&mut self) {
        while let Some(output) = self.membership.poll_output() {
            match output {
                Output::Ask { question, request, .. } => self.questions.push_back((question, request)),
                Output::Event(_) => {}
                told => self.told.push(told),
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.membership.handle(self.now, input);
        self.collect();
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.membership.handle_timeout(self.now);
        self.collect();
    }

    /// Answers the oldest question.
    fn answer(&mut self, result: Result<Answer, Failure>) -> Request {
        let (question, request) = self.questions.pop_front().expect("something is asked");
        self.handle(Input::Answer(question, result));
        request
    }

    fn refuse(&mut self, code: ErrorCode) -> Request {
        self.answer(Err(Failure::Code(code)))
    }

    /// Answers a Join with a generation of which others are part, too; gives our word in it.
    fn joined(&mut self, generation: i32, leader: &str, others: &[(&str, Word)]) -> Word {
        let (question, Request::Join { word, .. }) = self.questions.pop_front().expect("something is asked") else {
            panic!("it does not join");
        };
        let own = Word::decode(&word).expect("our own word");
        let mut members = vec![("me".into(), word)];
        members.extend(others.iter().map(|(id, word)| (String::from(*id), word.encode())));
        let (member_id, leader) = ("me".into(), leader.into());
        self.handle(Input::Answer(question, Ok(Answer::Joined { generation, member_id, leader, members })));
        own
    }

    /// Answers a Sync with the plan that it brought.
    fn synced_own(&mut self) -> Plan {
        let (question, Request::Sync { plan, .. }) = self.questions.pop_front().expect("something is asked") else {
            panic!("it does not sync");
        };
        let bytes = plan.first().expect("a plan").1.clone();
        self.handle(Input::Answer(question, Ok(Answer::Synced(bytes.clone()))));
        Plan::decode(&bytes).expect("our own plan")
    }

    fn synced(&mut self, generation: i32, owners: &[Option<&str>]) {
        let share = |owner: &Option<&str>| Share { owner: owner.map(MemberKey::of), leaving: false, bytes_per_s: 0 };
        let plan = Plan { generation, lanes: owners.iter().map(share).collect() };
        assert!(matches!(self.answer(Ok(Answer::Synced(plan.encode()))), Request::Sync { .. }));
    }

    fn told(&mut self) -> Vec<Output> {
        core::mem::take(&mut self.told)
    }

    fn owned(&self) -> Vec<u32> {
        self.membership.owned().collect()
    }
}

#[test]
fn a_lonely_member_gets_all_lanes() {
    let mut bench = Bench::new(2);
    let first = bench.answer(Ok(Answer::IdRequired("me".into())));
    let Request::Join { member_id, session_ms, rebalance_ms, .. } = first else { panic!("it does not join") };
    assert_eq!((member_id.as_str(), session_ms, rebalance_ms), ("", 2_000, 6_000));
    bench.joined(1, "me", &[]);
    bench.synced_own();
    assert_eq!(bench.told(), [Output::Own(0), Output::Own(1)]);
    assert!(bench.membership.leads() && bench.membership.is_at_rest());
}

#[test]
fn the_lease_counts_from_what_was_sent_and_answered() {
    let mut bench = Bench::member(1);
    let begun = bench.now;
    assert_eq!(bench.membership.lease_until(), begun + 2_000);
    bench.pass(BEAT_MS);
    let sent = bench.now;
    bench.pass(400);
    assert_eq!(bench.membership.lease_until(), begun + 2_000);
    bench.answer(Ok(Answer::Done));
    assert_eq!(bench.membership.lease_until(), sent + 2_000);
    // No answer, or one that says nothing of us, proves nothing.
    for failure in [
        Failure::Lost,
        Failure::NotSent,
        Failure::Code(ErrorCode::NOT_COORDINATOR),
        Failure::Code(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        Failure::Code(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        Failure::Code(ErrorCode::ILLEGAL_GENERATION),
    ] {
        let mut bench = Bench::member(1);
        bench.pass(BEAT_MS);
        bench.answer(Err(failure));
        assert_eq!(bench.membership.lease_until(), begun + 2_000, "{failure:?}");
        assert_eq!(bench.owned(), [0]);
    }
}

#[test]
fn while_others_join_the_lease_goes_on_but_not_for_ever() {
    let mut bench = Bench::member(1);
    let steady = bench.now;
    bench.pass(BEAT_MS);
    bench.refuse(ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(matches!(bench.questions[0].1, Request::Join { .. }));
    let join = bench.questions.pop_front().expect("the join");
    for _ in 0..200 {
        bench.pass(BEAT_MS);
        let sent = bench.now;
        bench.refuse(ErrorCode::REBALANCE_IN_PROGRESS);
        assert_eq!(bench.membership.lease_until(), (sent + 2_000).min(steady + 6_000));
    }
    assert_eq!(bench.owned(), [0]);
    // The answer proves that the request had arrived.
    bench.questions.push_front(join);
    bench.joined(2, "other", &[]);
    bench.synced(2, &[Some("me")]);
    assert_eq!(bench.membership.lease_until(), bench.now + 2_000);
}

#[test]
fn a_lane_that_is_to_move_is_let_go_first() {
    let mut bench = Bench::member(2);
    bench.told();
    bench.pass(BEAT_MS);
    bench.refuse(ErrorCode::REBALANCE_IN_PROGRESS);
    let word = bench.joined(2, "other", &[]);
    assert_eq!(word.claims.keys().copied().collect::<Vec<_>>(), [0, 1]);
    bench.synced(2, &[Some("me"), None]);
    assert_eq!(bench.told(), [Output::LetGo(1)]);
    assert_eq!(bench.owned(), [0, 1]);
    // Whatever others do meanwhile.
    bench.pass(BEAT_MS);
    bench.refuse(ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(bench.joined(3, "other", &[]).claims[&1].leaving);
    bench.synced(3, &[Some("me"), None]);
    assert_eq!(bench.told(), []);
    bench.handle(Input::LetGone(1));
    assert_eq!(bench.joined(4, "other", &[]).claims.keys().copied().collect::<Vec<_>>(), [0]);
    bench.synced(4, &[Some("me"), Some("other")]);
    assert_eq!(bench.told(), []);
}

#[test]
fn a_lane_that_another_has_is_lost_at_once() {
    let mut bench = Bench::member(2);
    bench.told();
    bench.pass(BEAT_MS);
    bench.refuse(ErrorCode::REBALANCE_IN_PROGRESS);
    bench.joined(2, "other", &[]);
    bench.synced(2, &[Some("other"), Some("me")]);
    assert_eq!(bench.told(), [Output::Lost(0)]);
    assert_eq!(bench.owned(), [1]);
}

#[test]
fn who_is_out_loses_everything_and_comes_back_as_somebody_else() {
    for code in [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::FENCED_INSTANCE_ID] {
        let mut bench = Bench::member(2);
        bench.told();
        bench.pass(BEAT_MS);
        bench.refuse(code);
        assert_eq!(bench.told(), [Output::Lost(0), Output::Lost(1)]);
        assert_eq!(bench.membership.lease_until(), 0);
        bench.pass(BEAT_MS);
        let Request::Join { member_id, word, .. } = bench.answer(Ok(Answer::IdRequired("me".into()))) else {
            panic!("it does not join");
        };
        assert_eq!((member_id.as_str(), Word::decode(&word)), ("", Ok(Word::default())));
    }
}

#[test]
fn a_failed_request_is_tried_again_and_costs_no_lane() {
    for code in [14, 15, 16, 22, 27, 81, -1] {
        let mut bench = Bench::member(1);
        bench.told();
        bench.handle(Input::Lanes(2));
        bench.refuse(ErrorCode(code));
        assert_eq!(bench.questions, [], "{code}");
        bench.pass(BEAT_MS);
        let beat = bench.questions.iter().position(|(_, request)| matches!(request, Request::Heartbeat { .. }));
        bench.questions.remove(beat.expect("it goes on to live"));
        bench.joined(2, "me", &[]);
        bench.refuse(ErrorCode(code));
        bench.pass(BEAT_MS);
        assert_eq!((bench.told(), bench.owned()), (vec![], vec![0]));
        assert!(bench.questions.iter().any(|(_, request)| matches!(request, Request::Join { .. })), "{code}");
    }
}

#[test]
fn what_can_never_be_is_said() {
    for code in
        [ErrorCode::INVALID_SESSION_TIMEOUT, ErrorCode::INCONSISTENT_GROUP_PROTOCOL, ErrorCode::INVALID_GROUP_ID]
    {
        let mut bench = Bench::new(1);
        bench.refuse(code);
        assert_eq!(bench.told(), [Output::Refused(code)]);
        assert_eq!(bench.membership.poll_timeout(), None);
    }
}

#[test]
fn an_answer_to_what_was_given_up_changes_nothing() {
    let mut bench = Bench::member(2);
    bench.told();
    bench.pass(BEAT_MS);
    bench.refuse(ErrorCode::REBALANCE_IN_PROGRESS);
    let late = bench.questions.pop_front().expect("the join").0;
    // Its generation went by: twice a heartbeat says so.
    for _ in 0..2 {
        bench.pass(BEAT_MS);
        bench.refuse(ErrorCode::ILLEGAL_GENERATION);
    }
    let (member_id, leader) = ("me".into(), "other".into());
    let answer = Answer::Joined { generation: 2, member_id, leader, members: vec![] };
    bench.handle(Input::Answer(late, Ok(answer)));
    bench.pass(BEAT_MS);
    assert!(bench.questions.iter().any(|(_, request)| matches!(request, Request::Join { .. })));
    assert_eq!((bench.told(), bench.owned()), (vec![], vec![0, 1]));
}

#[test]
fn once_it_has_settled_it_says_so_and_never_again() {
    let mut bench = Bench::member(1);
    let until = bench.now + 5_000;
    while bench.now < until - BEAT_MS {
        bench.pass(BEAT_MS);
        bench.answer(Ok(Answer::Done));
    }
    assert!(bench.questions.is_empty());
    bench.pass(BEAT_MS);
    bench.questions.retain(|(_, request)| !matches!(request, Request::Heartbeat { .. }));
    assert!(bench.joined(2, "me", &[]).settled);
    bench.synced_own();
    assert_eq!(bench.membership.settles_at, None);
}

#[test]
fn a_group_without_memory_gives_nothing_out_for_a_session() {
    let mut bench = Bench::member(1);
    bench.pass(BEAT_MS);
    bench.refuse(ErrorCode::UNKNOWN_MEMBER_ID);
    bench.told();
    bench.pass(BEAT_MS);
    bench.answer(Ok(Answer::IdRequired("me".into())));
    bench.joined(1, "me", &[]);
    let begun = bench.now;
    assert_eq!(bench.synced_own().lanes[0].owner, None);
    while bench.now < begun + 2_000 {
        assert_eq!(bench.told(), []);
        bench.pass(BEAT_MS);
        if matches!(bench.questions.front(), Some((_, Request::Heartbeat { .. }))) {
            bench.answer(Ok(Answer::Done));
        }
    }
    bench.joined(2, "me", &[]);
    bench.synced_own();
    assert_eq!(bench.told(), [Output::Own(0)]);
}

#[test]
fn garbage_for_a_plan_is_asked_for_again() {
    let mut bench = Bench::member(1);
    bench.told();
    bench.handle(Input::Lanes(2));
    bench.joined(2, "other", &[]);
    bench.answer(Ok(Answer::Synced(vec![])));
    bench.pass(BEAT_MS);
    assert_eq!((bench.told(), bench.owned()), (vec![], vec![0]));
    assert!(bench.questions.iter().any(|(_, request)| matches!(request, Request::Join { .. })));
}

#[test]
fn leaving_is_said_and_ends_it() {
    let mut bench = Bench::member(1);
    bench.told();
    bench.handle(Input::Leave);
    assert_eq!(bench.membership.lease_until(), 0);
    assert!(matches!(bench.answer(Err(Failure::Lost)), Request::Leave { .. }));
    assert_eq!(bench.told(), [Output::Left]);
    let mut bench = Bench::new(1);
    bench.handle(Input::Leave);
    assert_eq!(bench.told(), [Output::Left]);
}
