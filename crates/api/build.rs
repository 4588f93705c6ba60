//! Compiles the messages of the client services. `protox` is a protobuf compiler in Rust: no system compiler is needed.

use std::io;

const FILES: [&str; 6] = ["auth.proto", "election.proto", "health.proto", "lock.proto", "mvcc.proto", "rpc.proto"];

/// Fields whose names do not become words in Rust. Names do not travel: only these two are changed, and only in Rust.
const RENAMED: [(&str, &str); 2] = [("peerURLs", "peer_urls"), ("clientURLs", "client_urls")];

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let mut files = protox::compile(FILES, ["proto"]).map_err(io::Error::other)?;
    for message in files.file.iter_mut().flat_map(|file| &mut file.message_type) {
        for field in &mut message.field {
            if let Some((_, name)) = RENAMED.iter().find(|(from, _)| field.name.as_deref() == Some(*from)) {
                field.name = Some((*name).to_owned());
            }
        }
    }
    // Byte fields share the buffer they are decoded from: a 2 MiB value is not copied.
    prost_build::Config::new().bytes(["."]).compile_fds(files)
}
