//! Credentials and origins, from outside.

use super::*;

fn guarded() -> World {
    let mut world = world();
    let users = [("ada".to_owned(), "secret".to_owned())].into();
    let origins = vec!["https://console.example".to_owned()];
    let credentials = Credentials { token: None, users, certificates: true, origins };
    let access = Access::new("0.0.0.0:2381".parse().unwrap(), credentials).unwrap();
    world.admin = world.admin.with_access(access);
    world
}

#[tokio::test]
async fn without_a_credential_only_the_health_is_told() {
    let world = guarded();
    for entry in route::ENTRIES {
        let path = format!("/apis/v2{}", entry.path.replace(['{', '}'], ""));
        let told = world.send(request(entry.method, &path, PIPELINE)).await;
        if entry.path == "/healthz" {
            assert_eq!((told.status, told.body.as_str()), (200, ""));
            continue;
        }
        assert_eq!(told.status, 401, "{} {path}", entry.method);
        assert_eq!(told.headers["WWW-Authenticate"], "Basic realm=\"easegress-basic-auth\"");
        assert_eq!(told.body, "{\"code\":401,\"message\":\"the admin API needs a credential\"}");
    }
    for path in ["/apis/v2", "/apis/v2/nothing", "/metrics", "/debug/memory"] {
        assert_eq!(world.send(request("GET", path, "")).await.status, 401, "{path}");
    }
    assert_eq!(world.store.revision(), 1, "nothing was written");
    let with = |authorization: &str, certificate: bool| {
        let authorization = authorization.to_owned();
        AdminRequest { authorization, certificate, ..request("POST", BASE, PIPELINE) }
    };
    assert_eq!(world.send(with("Basic YWRhOndyb25n", false)).await.status, 401);
    assert_eq!(world.send(with("Basic YWRhOnNlY3JldA==", false)).await.status, 201);
    assert_eq!(world.send(with("", true)).await.status, 401, "a certificate takes no password's place");
    assert_eq!(world.send(with("Basic YWRhOnNlY3JldA==", true)).await.status, 409);
    let authorization = "Basic YWRhOnNlY3JldA==".to_owned();
    let versions = AdminRequest { authorization, ..request("GET", "/apis/v2/objects/p/versions", "") };
    assert!(world.send(versions).await.body.contains("\"who\":\"ada\""));
}

#[tokio::test]
async fn pages_of_named_origins_may_ask_and_others_may_not() {
    let world = guarded();
    let ask = async |method: &str, origin: &str, authorization: &str| {
        let (origin, authorization) = (origin.to_owned(), authorization.to_owned());
        world.send(AdminRequest { origin, authorization, ..request(method, BASE, "") }).await
    };
    let told = ask("OPTIONS", "https://console.example", "").await;
    assert_eq!((told.status, told.body.as_str()), (200, ""));
    assert_eq!(told.headers["Access-Control-Allow-Origin"], "https://console.example");
    assert!(told.headers["Access-Control-Allow-Headers"].contains("Authorization"));
    let told = ask("GET", "https://console.example", "").await;
    assert_eq!((told.status, told.headers.contains_key("Access-Control-Allow-Origin")), (401, true));
    let told = ask("GET", "https://console.example", "Basic YWRhOnNlY3JldA==").await;
    assert_eq!((told.status, told.headers["Vary"].as_str()), (200, "Origin"));
    for method in ["GET", "OPTIONS"] {
        let told = ask(method, "https://evil.example", "Basic YWRhOnNlY3JldA==").await;
        assert_eq!((told.status, told.headers.contains_key("Access-Control-Allow-Origin")), (403, false));
    }
}
