//! Serves a sandbox on loopback until it is stopped, for clients of any kind:
//! `cargo run -p twinlog-sandbox --example serve -- [nodes] [first port]`.

use std::error::Error;

use twinlog_sandbox::{Sandbox, SandboxSpec, TopicSpec};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let nodes: i32 = arguments.next().map_or(Ok(1), |nodes| nodes.parse())?;
    let first: Option<u16> = arguments.next().map(|port| port.parse()).transpose()?;
    let spec = SandboxSpec::new()
        .nodes(nodes)
        .setting("auto.create.topics.enable", "true")
        .setting("num.partitions", "3")
        .topic(TopicSpec::new("orders", 6));
    let sandbox = Sandbox::new(spec)?;
    let ports: Vec<u16> = (0..).take(usize::try_from(nodes)?).filter_map(|node| first?.checked_add(node)).collect();
    for (node, address) in sandbox.nodes().iter().zip(sandbox.listen(&ports).await?) {
        println!("node {node} at {address}");
    }
    std::future::pending().await
}
