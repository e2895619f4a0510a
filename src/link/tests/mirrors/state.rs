//! The link's state: written by several at the same time, read and followed.

use std::collections::BTreeMap;

use twinlog_client::Side;
use twinlog_core::link_state::{LinkState, Refusal};
use twinlog_core::map_record::PartitionKey;
use twinlog_core::moves::Place;
use twinlog_core::state_record::StateRecord;
use twinlog_link::environment::WallClock;
use twinlog_link::state::{StateError, StateTopic};

use crate::kit::KIT;

fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic: "orders".into(), partition }
}

async fn topic(link: &str) -> StateTopic {
    let target = KIT.client(Side::Target);
    StateTopic::ensure(&target, link, None, WallClock::default()).await.unwrap()
}

/// One more partition of the topic: each writer must see what all others wrote.
fn one_more(state: &LinkState) -> Result<Vec<StateRecord>, Refusal> {
    let count = i32::try_from(state.places().count()).unwrap();
    Ok(state.place_new(&BTreeMap::from([("orders".to_owned(), count + 1)]), &BTreeMap::new()))
}

#[tokio::test]
async fn of_several_writers_none_is_lost() {
    let state = topic("state-writers").await;
    state.update(|state| Ok(state.begin(4))).await.unwrap();
    let writers: Vec<_> =
        (0..4).map(|_| tokio::spawn(async move { topic("state-writers").await.update(one_more).await })).collect();
    let mut written = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(_) => written += 1,
            Err(StateError::Busy(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(written > 0);
    assert_eq!(state.read().await.unwrap().places().count(), written);
}

#[tokio::test]
async fn a_change_is_followed_and_what_cannot_be_is_not_written() {
    let state = topic("state-followed").await;
    let follower = state.follow();
    state.update(|state| Ok(state.begin(2))).await.unwrap();
    state.update(one_more).await.unwrap();
    let before = state.read().await.unwrap().place(&key(0)).unwrap();
    state.update(|state| state.send(&BTreeMap::from([(key(0), 1 - before.lane)]))).await.unwrap();
    let moving = Place { lane: 1 - before.lane, from: Some(before.lane), number: 1 };
    assert_eq!(follower.fresh().await.unwrap().place(&key(0)), Some(moving));
    let none = BTreeMap::from([(key(7), 0)]);
    let refused = state.update(|state| state.send(&none)).await.unwrap_err();
    assert!(matches!(&refused, StateError::Refused(Refusal::Unknown(unknown)) if *unknown == key(7)), "{refused}");
    assert_eq!(state.read().await.unwrap().place(&key(0)), Some(moving));
}
