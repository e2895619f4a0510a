//! The limit: a relay in user space that reads into a buffer and writes it out, with its two peers.

use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;

use super::arena::Arena;
use crate::net::Stream;
use crate::progress::Progress;

/// As much is read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// The child: moves bytes from one peer to the other until the first one ends.
pub(crate) fn relay(from: SocketAddr, to: SocketAddr, ca_file: Option<&Path>) -> io::Result<()> {
    let (mut from, mut to) = (Stream::dial(from, ca_file)?, Stream::dial(to, ca_file)?);
    // A TLS handshake is made by the first use.
    to.flush()?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

/// The relay's peers: one sends the bytes of an arena, the other takes them.
#[derive(Debug)]
pub(crate) struct RawPeers {
    pub(crate) source: SocketAddr,
    pub(crate) target: SocketAddr,
    release: Sender<()>,
    connected: Arc<Progress>,
}

impl RawPeers {
    /// Waits for the relay; the sender sends nothing before [`RawPeers::release`]. The progress is in bytes.
    pub(crate) fn start(
        arena: &Arc<Arena>,
        bytes: u64,
        tls: Option<&Arc<ServerConfig>>,
        progress: &Arc<Progress>,
    ) -> Self {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let (at_source, at_target) = (listen(), listen());
        let address = |listener: &TcpListener| listener.local_addr().expect("it has an address");
        let (source, target) = (address(&at_source), address(&at_target));
        let (release, released) = channel();
        let connected = Arc::new(Progress::default());
        let (source_connected, target_connected) = (Arc::clone(&connected), Arc::clone(&connected));
        let (arena, source_tls) = (Arc::clone(arena), tls.cloned());
        spawn(progress, "the relay's sender", move |_| {
            let mut stream = Stream::accepted(at_source.accept()?.0, source_tls.as_ref())?;
            stream.flush()?;
            source_connected.add(1);
            if released.recv().is_ok() {
                send(&mut stream, &arena, bytes)?;
            }
            // The relay ends with this stream, and must not before it was looked at.
            let _dropped = released.recv();
            Ok(())
        });
        let target_tls = tls.cloned();
        spawn(progress, "the relay's sink", move |progress| {
            let mut stream = Stream::accepted(at_target.accept()?.0, target_tls.as_ref())?;
            target_connected.add(1);
            let mut buffer = vec![0; BUFFER_BYTES];
            let mut left = bytes;
            while left > 0 {
                let read = stream.read(&mut buffer)? as u64;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                left = left.saturating_sub(read);
            }
            progress.add(bytes);
            Ok(())
        });
        Self { source, target, release, connected }
    }

    /// Waits until both sides are connected, for at most so long.
    pub(crate) fn wait_for_relay(&self, patience: Duration) -> bool {
        self.connected.wait(2, patience) == Ok(true)
    }

    pub(crate) fn release(&self) {
        // If the sender has ended, it has said why.
        let _sent = self.release.send(());
    }
}

fn send(stream: &mut Stream, arena: &Arena, bytes: u64) -> io::Result<()> {
    let mut left = usize::try_from(bytes).map_err(io::Error::other)?;
    for partition in (0..arena.partitions()).cycle() {
        let prepared = arena.lock(partition);
        let part = prepared.len().min(left);
        stream.write_all(&prepared[..part])?;
        left -= part;
        if left == 0 {
            return stream.flush();
        }
    }
    Ok(())
}

fn spawn(
    progress: &Arc<Progress>,
    what: &'static str,
    work: impl FnOnce(&Progress) -> io::Result<()> + Send + 'static,
) {
    let progress = Arc::clone(progress);
    thread::spawn(move || {
        if let Err(error) = work(&progress) {
            progress.fail(|| format!("{what}: {error}"));
        }
    });
}
