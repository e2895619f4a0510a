//! Free ports on the loopback address.
//!
//! They are taken below the range from which the system gives ports to outgoing connections (32768 and up on Linux),
//! so no client of a test can take the port of a broker that is down for a moment. Within a process a port is given
//! once; another process may still be faster, and then the cluster starts again with other ports.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port that nobody listens on and that this process gave to nobody else.
pub(crate) fn free_port() -> Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_with(HashSet::new);
    for _ in 0..1000 {
        let port = FIRST + (RandomState::new().hash_one(given.len()) % u64::from(COUNT)) as u16;
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    Err(Error::Argument("no free port on 127.0.0.1 between 15000 and 32000".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_or_from_the_range_of_outgoing_connections() {
        let ports: HashSet<u16> = (0..200).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 200);
        assert!(ports.iter().all(|port| (FIRST..FIRST + COUNT).contains(port)));
    }
}
