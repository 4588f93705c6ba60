//! The listeners of the store and of the admin API.

use tidegate_base::{ByteSize, Limits, Profile};

use super::*;
use crate::{
    conn::{Address, Drain, Listener, Net, Served},
    h1::{Handler, Http1Service, Request, Simple},
    io::Threads,
    message::Response,
    upstream,
};

struct Hello;

impl Handler for Hello {
    async fn handle(&self, _: Request<'_>) -> Response {
        Response::text(200, "hello")
    }
}

#[test]
fn listeners_of_the_store_speak_tls_where_they_are_told_to() {
    let authority = Authority::new();
    let threads = Threads::start(2, "io").unwrap();
    let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Store).unwrap());
    let drain = Drain::default();
    let net = Net::new(&threads.handle(), budget.clone(), drain.clone()).unwrap();
    let handle = Handle::new(local(&authority));
    let listener = Listener::bind_tcp("127.0.0.1:0").unwrap().with_tls(Arc::clone(&handle));
    let Address::Tcp(address) = *listener.address() else { panic!("a TCP address") };
    let paying = budget.clone();
    net.listen(listener, move |_| {
        let shared = Shared::new(Config::default(), paying.clone());
        Served { http1: Some(Http1Service::new(Simple(Hello), shared)), grpc: None }
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("https://{address}");
        let with = |client: Client| upstream::Client { tls: Some(client), ..upstream::Client::default() };
        for _ in 0..5 {
            let answer = with(trusting(&authority)).get(&url, "/").await.unwrap();
            assert_eq!(&answer.body[..], b"hello");
        }
        let next = Authority::new();
        handle.swap(local(&next));
        assert!(with(trusting(&authority)).get(&url, "/").await.is_err());
        assert!(with(trusting(&next)).get(&url, "/").await.is_ok());
        let plain = upstream::Client::default().get(&format!("http://{address}"), "/").await.unwrap();
        assert_eq!((plain.status, &plain.body[..]), (400, &b"Client sent an HTTP request to an HTTPS server.\n"[..]));
        drain.start(std::time::Duration::from_secs(5));
        net.finished().await;
    });
    threads.stop();
    assert_eq!(budget.used(Holder::Connections), 0);
}
