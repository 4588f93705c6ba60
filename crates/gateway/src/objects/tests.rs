use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tidegate_api::Error;
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};
use tidegate_testkit::MapStore;
use tokio::sync::{Notify, watch};

use super::*;

/// Builds everything but objects of kind `Broken`, and panics on kind `Panic`.
#[derive(Default)]
struct Recorder {
    applied: Mutex<Vec<BTreeMap<String, (String, Value)>>>,
    told: Notify,
}

impl Plane for Recorder {
    fn kinds(&self) -> Vec<&'static str> {
        vec!["Broken", "K"]
    }
    fn filters(&self) -> Vec<&'static str> {
        Vec::new()
    }
    fn review(&self, _: &str, spec: &Value) -> Review {
        Review { stored: spec.clone(), ..Review::default() }
    }
    fn apply(&self, texts: &Texts) -> BTreeMap<String, ObjectStatus> {
        let (mut statuses, mut objects) = (BTreeMap::new(), BTreeMap::new());
        let budget = Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap());
        for (name, text) in texts {
            let error = match Given::read(name, text, &budget) {
                Ok(Given { kind, spec, .. }) => {
                    assert!(kind != "Panic", "asked for by the test");
                    let error = (kind == "Broken").then(|| "does not build".to_owned());
                    objects.insert(name.clone(), (kind, spec));
                    error
                }
                Err(unread) => Some(unread.to_string()),
            };
            statuses.insert(name.clone(), ObjectStatus { error, ..ObjectStatus::default() });
        }
        self.applied.lock().unwrap().push(objects);
        self.told.notify_one();
        statuses
    }
}

const AUTHOR: Author<'static> = Author { who: "test", action: "update", kind: "K" };

type Decide<'a> = &'a mut (dyn FnMut(Option<&Stored>) -> Result<Option<bytes::Bytes>, Refusal> + Send);

struct World {
    store: MapStore,
    plane: Arc<Recorder>,
    budget: Budget,
    config: Config,
}

struct Running {
    handle: Handle,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl World {
    fn new(directory: Option<&std::path::Path>) -> Self {
        let budget = Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap());
        let config = Config::new(directory.map(Into::into), ByteSize::mib(1));
        Self { store: MapStore::new(), plane: Arc::default(), budget, config }
    }

    fn run(&self) -> Running {
        let store = Arc::new(self.store.clone());
        let plane: Arc<dyn Plane> = Arc::clone(&self.plane) as _;
        let loader = Loader::new(store.clone(), store, plane, self.budget.clone(), self.config.clone());
        let (stop, stopped) = watch::channel(false);
        let handle = loader.handle();
        Running { handle, stop, task: tokio::spawn(loader.run(stopped)) }
    }

    fn put(&self, name: &str, kind: &str, more: &str) {
        let text = format!("{{\"name\":\"{name}\",\"kind\":\"{kind}\"{more}}}");
        self.store.write(&format!("{OBJECTS_PREFIX}{name}"), &text);
    }

    /// The newest configuration, as soon as it holds exactly these names.
    async fn applies(&self, names: &[&str]) {
        let wait = async {
            loop {
                let told = self.plane.told.notified();
                if self.plane.applied.lock().unwrap().last().is_some_and(|last| last.keys().eq(names)) {
                    return;
                }
                told.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("{names:?} never came"));
    }

    fn times(&self) -> usize {
        self.plane.applied.lock().unwrap().len()
    }
}

impl Running {
    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }

    async fn until(&self, fits: impl Fn(&Handle) -> bool) {
        while !fits(&self.handle) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lists_in_pages_then_follows_and_gathers_bursts() {
    let world = World::new(None);
    let names: Vec<_> = (0..200).map(|i| format!("o{i:03}")).collect();
    names.iter().for_each(|name| world.put(name, "K", ""));
    let running = world.run();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    world.applies(&names).await;
    assert_eq!(world.times(), 1);
    for name in &names[1..] {
        world.store.remove(&format!("{OBJECTS_PREFIX}{name}"));
    }
    world.store.write(VERSION_KEY, "7");
    world.applies(&names[..1]).await;
    assert_eq!(world.times(), 2, "one burst, one configuration");
    assert_eq!((running.handle.version(), running.handle.statuses().len()), (7, 1));
    running.stop().await;
    assert_eq!(world.budget.used(Holder::Gateway), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_watch_is_made_up_by_a_listing() {
    let world = World::new(None);
    world.put("a", "K", "");
    let running = world.run();
    world.applies(&["a"]).await;
    world.store.cancel_watches();
    world.put("b", "K", "");
    world.applies(&["a", "b"]).await;
    world.store.set_down(Some(Error::NoLeader));
    running.until(|handle| handle.problem().is_some_and(|problem| *problem == *Error::NoLeader.text())).await;
    world.put("c", "K", "");
    world.store.remove("/config/objects/a");
    world.store.compact(world.store.revision());
    world.store.set_down(None);
    world.applies(&["b", "c"]).await;
    running.until(|handle| handle.problem().is_none()).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_build_or_parse_is_told_and_stops_nothing_else() {
    let world = World::new(None);
    world.put("a", "K", "");
    world.put("b", "Broken", "");
    world.store.write("/config/objects/c", "{\"name\": ");
    world.store.write("/config/objects/d", "{\"name\":\"x\",\"kind\":\"K\"}");
    let running = world.run();
    world.applies(&["a", "b"]).await;
    running.until(|handle| handle.statuses().len() == 4).await;
    let statuses = running.handle.statuses();
    let error = |name: &str| statuses[name].error.clone().unwrap_or_default();
    assert_eq!(error("a"), "");
    assert_eq!(error("b"), "does not build");
    assert!(error("c").contains("EOF"), "{}", error("c"));
    assert_eq!(error("d"), "the spec names itself \"x\"");
    let before = world.times();
    running.until(|_| world.times() > before).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_builder_keeps_the_loader_following() {
    let world = World::new(None);
    world.put("a", "K", "");
    let running = world.run();
    world.applies(&["a"]).await;
    world.put("p", "Panic", "");
    running.until(|handle| handle.problem().is_some()).await;
    world.store.remove("/config/objects/p");
    world.put("b", "K", "");
    world.applies(&["a", "b"]).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_store_the_last_good_configuration_runs() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(Some(directory.path()));
    world.put("a", "K", ",\"v\":1");
    world.put("b", "K", "");
    let running = world.run();
    world.applies(&["a", "b"]).await;
    // The newest text of `a` does not build: what is kept is the one before.
    world.put("a", "Broken", "");
    running.until(|handle| handle.statuses().get("a").is_some_and(|status| status.error.is_some())).await;
    running.stop().await;

    world.store.set_down(Some(Error::NoLeader));
    let restarted = World { store: world.store.clone(), ..World::new(Some(directory.path())) };
    let running = restarted.run();
    restarted.applies(&["a", "b"]).await;
    assert_eq!(restarted.plane.applied.lock().unwrap()[0]["a"].1["v"], 1);
    world.store.set_down(None);
    running.until(|handle| handle.statuses().get("a").is_some_and(|status| status.error.is_some())).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn too_much_configuration_leaves_the_old_one_running() {
    let world = World::new(None);
    world.put("a", "K", "");
    let running = world.run();
    world.applies(&["a"]).await;
    world.put("large", "K", &format!(",\"x\":\"{}\"", "x".repeat(1 << 20)));
    running.until(|handle| handle.problem().is_some_and(|problem| problem.contains("1MiB"))).await;
    assert!(world.budget.used(Holder::Gateway) < 2 << 20);
    world.store.remove("/config/objects/large");
    world.put("b", "K", "");
    world.applies(&["a", "b"]).await;
    running.stop().await;
}

#[tokio::test]
async fn changes_are_guarded_by_version_and_object() {
    let world = World::new(None);
    let store = Store::new(Arc::new(world.store.clone()));
    let put = |text: &'static str| move |_: Option<&Stored>| Ok(Some(text.into()));
    let change =
        async |name: &str, decide: Decide<'_>| store.change(name, AUTHOR, decide).await.map(|changed| changed.version);
    assert_eq!(change("a", &mut put("1")).await, Ok(1));
    // Somebody else raises the version between our read and our write: tried again, nothing lost.
    let before = world.store.txns();
    world.store.write(VERSION_KEY, "9");
    assert_eq!(change("a", &mut put("2")).await, Ok(10));
    assert_eq!(world.store.txns(), before + 2);
    let only_new = |stored: Option<&Stored>| match stored {
        Some(_) => Err(Refusal::Exists),
        None => Ok(Some("new".into())),
    };
    let intruder = || world.store.intrude("/config/objects/b", "theirs");
    let mut reads = 0;
    let mut decide = |stored: Option<&Stored>| {
        reads += 1;
        if reads == 1 {
            intruder();
        }
        only_new(stored)
    };
    assert_eq!(change("b", &mut decide).await, Err(ChangeError::Refused(Refusal::Exists)));
    assert_eq!((reads, world.store.value("/config/objects/b").unwrap()), (2, "theirs".into()));
    assert_eq!(change("a", &mut |_| Ok(None)).await, Ok(11));
    assert_eq!(store.get("a").await, Ok((11, None)));
    assert_eq!(store.delete_all().await.map(|changed| changed.version), Ok(12));
    assert_eq!(world.store.value("/config/objects/b"), None);
    world.store.set_down(Some(Error::NoLeader));
    assert_eq!(change("a", &mut put("3")).await, Err(ChangeError::Store(Error::NoLeader)));
}

#[tokio::test]
async fn writers_of_one_node_wait_for_each_other() {
    let world = World::new(None);
    let store = Store::new(Arc::new(world.store.clone()));
    let before = world.store.txns();
    let writes = (0..100).map(|n| {
        let store = store.clone();
        async move { store.change(&format!("o{n}"), AUTHOR, |_| Ok(Some("1".into()))).await }
    });
    let versions = futures_util::future::join_all(writes).await;
    let mut versions: Vec<u64> = versions.into_iter().map(|changed| changed.unwrap().version).collect();
    versions.sort_unstable();
    assert!(versions.into_iter().eq(1..=100));
    assert_eq!(world.store.txns(), before + 200, "none was in vain");
}
