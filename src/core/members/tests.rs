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
    /// How long the answer to each question may take, in ms.
    limits: Vec<u64>,
    events: Vec<Event>,
}

impl Bench {
    fn new(lanes: u32) -> Self {
        let now = 1_000;
        let membership = Membership::new(CONFIG, lanes, now);
        let mut bench =
            Self { membership, now, questions: VecDeque::new(), told: Vec::new(), limits: vec![], events: vec![] };
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
                Output::Ask { question, request, limit_ms } => {
                    self.questions.push_back((question, request));
                    self.limits.push(limit_ms);
                }
                Output::Event(event) => self.events.push(event),
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
fn a_member_shows_itself_twenty_times_in_a_session_within_bounds() {
    let beat_ms = |session_ms| MembersConfig { session_ms, settle_ms: 0 }.beat_ms();
    assert_eq!([500, 2_000, 8_000, 300_000].map(beat_ms), [50, BEAT_MS, 400, 500]);
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
    assert_eq!(bench.events, [Event::Member { generation: 1, leads: true, lanes: 2 }]);
    assert_eq!(bench.questions, [], "it waits for nothing");
}

#[test]
fn what_waits_for_others_may_take_a_session_and_a_quarter_and_all_else_a_quarter() {
    let mut bench = Bench::member(1);
    assert_eq!(core::mem::take(&mut bench.limits), [2_500, 2_500, 2_500], "two joins and a sync");
    bench.pass(BEAT_MS);
    bench.handle(Input::Leave);
    assert_eq!(bench.limits, [500, 500]);
}

#[test]
fn what_fails_again_and_again_is_told_once_and_tried_after_pauses_up_to_a_quarter_of_a_session() {
    let mut bench = Bench::new(1);
    let elsewhere = Failure::Code(ErrorCode::NOT_COORDINATOR);
    for _ in 0..12 {
        bench.answer(Err(elsewhere));
        let due = bench.membership.poll_timeout().expect("it will try again");
        assert!((10..=500).contains(&(due - bench.now)), "{due}");
        bench.pass(due - bench.now - 1);
        assert_eq!(bench.questions, []);
        bench.pass(1);
    }
    assert_eq!(bench.events, [Event::Retrying(elsewhere, "JoinGroup")]);
    bench.answer(Err(elsewhere));
    assert_eq!(bench.membership.poll_timeout(), Some(bench.now + 500));
    // The next step tells of itself.
    let mut bench = Bench::new(1);
    bench.answer(Ok(Answer::IdRequired("me".into())));
    bench.joined(1, "me", &[]);
    bench.answer(Err(elsewhere));
    assert_eq!(bench.events, [Event::Retrying(elsewhere, "SyncGroup")]);
}

#[test]
fn a_heartbeat_that_is_refused_is_told_once_until_one_is_heard() {
    let mut bench = Bench::member(1);
    bench.events.clear();
    let refusal = Failure::Code(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    let beats = [Err(refusal), Err(refusal), Ok(Answer::Done), Err(refusal), Err(Failure::Lost), Err(refusal)];
    for beat in beats {
        let due = bench.membership.poll_timeout().expect("a heartbeat is due");
        bench.pass(due - bench.now);
        let asked = bench.answer(beat);
        assert!(matches!(asked, Request::Heartbeat { .. }), "{asked:?}");
    }
    assert_eq!(bench.events, [Event::Retrying(refusal, "Heartbeat"), Event::Retrying(refusal, "Heartbeat")]);
    assert_eq!(bench.told.iter().filter(|told| matches!(told, Output::Lost(_))).count(), 0);
}

#[test]
fn who_hears_in_a_sync_of_the_next_generation_joins_it_at_once() {
    for code in [ErrorCode::REBALANCE_IN_PROGRESS, ErrorCode::ILLEGAL_GENERATION] {
        let mut bench = Bench::new(1);
        bench.answer(Ok(Answer::IdRequired("me".into())));
        bench.joined(1, "me", &[]);
        bench.refuse(code);
        assert!(matches!(bench.questions.front(), Some((_, Request::Join { .. }))), "{code}");
    }
}

#[test]
fn a_heartbeat_of_the_generation_before_says_nothing_of_this_one() {
    for code in [ErrorCode::REBALANCE_IN_PROGRESS, ErrorCode::ILLEGAL_GENERATION] {
        for joins_first in [false, true] {
            let mut bench = Bench::member(1);
            bench.pass(BEAT_MS);
            let (beat, Request::Heartbeat { .. }) = bench.questions.pop_front().expect("a heartbeat") else {
                panic!("it shows itself");
            };
            if joins_first {
                bench.handle(Input::Lanes(2));
                bench.joined(2, "me", &[]);
                bench.synced_own();
            }
            bench.questions.clear();
            bench.handle(Input::Answer(beat, Err(Failure::Code(code))));
            let joins = matches!(bench.questions.front(), Some((_, Request::Join { .. })));
            assert_eq!(joins, !joins_first, "{code}");
        }
    }
}

#[test]
fn who_waits_for_a_plan_while_the_group_goes_on_gives_up_the_second_time() {
    let mut bench = Bench::member(1);
    bench.pass(BEAT_MS);
    let (former, _) = bench.questions.pop_front().expect("a heartbeat");
    bench.handle(Input::Lanes(2));
    bench.joined(2, "me", &[]);
    let rebalancing = || Err(Failure::Code(ErrorCode::REBALANCE_IN_PROGRESS));
    bench.handle(Input::Answer(former, rebalancing()));
    for is_given_up in [false, true] {
        bench.pass(BEAT_MS);
        let (beat, Request::Heartbeat { .. }) = bench.questions.pop_back().expect("a heartbeat") else {
            panic!("it shows itself");
        };
        bench.events.clear();
        bench.handle(Input::Answer(beat, rebalancing()));
        assert_eq!(bench.events == [Event::Retrying(Failure::Lost, "SyncGroup")], is_given_up);
    }
}

#[test]
fn lanes_that_others_may_own_and_not_know_of_are_not_given_out_for_as_long_as_they_say() {
    let mut bench = Bench::new(1);
    bench.answer(Ok(Answer::IdRequired("me".into())));
    bench.joined(1, "me", &[("other", Word { quiet_ms: 1_000, ..Word::default() })]);
    bench.synced_own();
    assert_eq!(bench.told(), []);
    bench.pass(999);
    assert!(!bench.questions.iter().any(|(_, request)| matches!(request, Request::Join { .. })));
    bench.pass(1);
    assert!(bench.questions.iter().any(|(_, request)| matches!(request, Request::Join { .. })));
}

/// Whether a settled member joins again ten minutes after it joined, and not before.
fn has_lanes_shared_out_anew(leader: &str, others: &[(&str, Word)]) -> bool {
    let mut bench = Bench::new(2);
    bench.answer(Ok(Answer::IdRequired("me".into())));
    let is_join = |(_, request): &(u64, Request)| matches!(request, Request::Join { .. });
    for generation in 1..=2 {
        bench.joined(generation, leader, others);
        bench.synced(generation, &[Some("me"), Some("other")]);
        // It settles, and joins once to say so.
        bench.pass(CONFIG.settle_ms);
        while bench.questions.front().is_some_and(|question| !is_join(question)) {
            bench.answer(Ok(Answer::Done));
        }
        assert_eq!(bench.questions.len(), usize::from(generation == 1));
    }
    bench.pass(REVIEW_MS - CONFIG.settle_ms - 1);
    assert!(!bench.questions.iter().any(is_join));
    bench.pass(1);
    bench.questions.iter().any(is_join)
}

#[test]
fn the_leader_of_several_has_the_lanes_shared_out_anew_every_ten_minutes() {
    let claims = || BTreeMap::from([(1, Claim::default())]);
    let other = [("other", Word { generation: 1, settled: true, claims: claims(), ..Word::default() })];
    assert!(has_lanes_shared_out_anew("me", &other));
    assert!(!has_lanes_shared_out_anew("other", &other), "it does not make the plans");
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
