//! What the audit log says.

use std::fmt;

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::*;

/// Keeps the lines of the audit log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "audit"
    }
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn each_change_is_one_line_without_content() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    // With one subscriber only, a line that another thread comes to first is taken for one that nobody wants.
    let _other = tracing::Dispatch::new(Lines::default());
    let world = world();
    let take = || std::mem::take(&mut *lines.0.lock().unwrap());
    let send = async |method: &str, target: &str, body: &str| {
        let asked = AdminRequest { peer: "10.0.0.9:4711".into(), ..request(method, target, body) };
        world.send(asked).await
    };
    let spec = "name: p\nkind: Pipeline\npassword: hunter2\n";
    send("POST", BASE, spec).await;
    let created = take();
    assert_eq!(created.len(), 1, "{created:?}");
    let expected = [
        ("who", "local"),
        ("peer", "10.0.0.9:4711"),
        ("method", "POST"),
        ("object", "p"),
        ("kind", "Pipeline"),
        ("old_revision", "0"),
        ("new_revision", "2"),
        ("old_version", "0"),
        ("new_version", "1"),
        ("outcome", "done"),
        ("message", "configuration changed"),
    ];
    assert_eq!(created[0], expected.map(|(key, value)| (key, value.to_owned())).into());
    send("PUT", "/apis/v2/objects/p", spec).await;
    let updated = take();
    assert_eq!((&*updated[0]["old_revision"], &*updated[0]["new_revision"]), ("2", "3"));
    for (method, target, body, status) in [
        ("POST", BASE, spec, "409"),
        ("POST", BASE, "password: hunter2", "400"),
        ("POST", BASE, "name: x\nkind: hunter", "400"),
        ("DELETE", "/apis/v2/objects/q", "", "404"),
        ("POST", "/apis/v2/customdata/none", "name: hunter2", "503"),
    ] {
        send(method, target, body).await;
        let refused = take();
        assert_eq!(refused.len(), 1, "{method} {target} {body}");
        assert_eq!((&*refused[0]["status"], &*refused[0]["outcome"]), (status, "refused"), "{body}");
        assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
    }
    send("DELETE", "/apis/v2/objects?all=true", "").await;
    send("POST", "/apis/v2/customdatakinds", "name: k").await;
    assert_eq!(take().iter().map(|line| &*line["object"]).collect::<Vec<_>>(), ["*", "k"]);
    send("GET", BASE, "").await;
    send("POST", "/apis/v2/objects?dryRun=true", spec).await;
    send("DELETE", BASE, "").await;
    assert_eq!(take(), []);
}
