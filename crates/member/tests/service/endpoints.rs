//! Paths that are no gRPC. What is expected is what etcd 3.7.3 answers.

use tidegate_member::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::node::Node;

#[test]
fn health_and_version_are_told_to_get_only() {
    let node = Node::start(Config::PIN_MAX);
    let answer = async |method: &str, path: &str| {
        let mut stream = TcpStream::connect(&node.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: store\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    node.runtime.block_on(async {
        for path in ["/health", "/version", "/livez", "/readyz", "/livez/serializable_read"] {
            for (method, code) in [("GET", 200), ("HEAD", 405), ("POST", 405)] {
                assert_eq!(answer(method, path).await, code, "{method} {path}");
            }
        }
        for method in ["GET", "HEAD", "POST"] {
            assert_eq!(answer(method, "/metrics").await, 200, "{method} /metrics");
            assert_eq!(answer(method, "/readyz/nosuch").await, 404, "{method} /readyz/nosuch");
            assert_eq!(answer(method, "/nosuch").await, 404, "{method} /nosuch");
        }
    });
}
