//! An unmodified etcdctl against ours and against the reference: both must print what the scripts say.
//!
//! A script is a text file of commands with their input and output, which one can read. `TIDEGATE_REWRITE=1` writes the
//! outputs anew, from the reference; a person reviews the change. `TIDEGATE_ONLY=etcd` or `=tidegate` runs one server.
//! The distribution's older etcdctl runs the same commands against both, and prints the same of both.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ctl;
mod normal;
mod script;

use std::path::{Path, PathBuf};

use ctl::Ctl;
use script::Script;
use tidegate_tests::{Kind, Options, Peer, Server, peer, scratch};

fn run(name: &str) {
    run_newest(name);
    run_older(name);
}

/// An older etcdctl prints other things than the scripts say: what it prints of the reference is what it must print of ours.
fn run_older(name: &str) {
    let Some(etcdctl) = peer(Peer::EtcdctlOfDebian).unwrap() else { return };
    let script = Script::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("etcdctl").join(name));
    // With the scheme: version 3.4 then sends the whole URL as `:authority` with some calls, which is none.
    let expected = play(&script, Kind::Etcd, etcdctl.clone());
    let seen = play(&script, Kind::Tidegate, etcdctl);
    script::compare(&expected, &seen, &format!("{name} with the distribution's etcdctl"));
}

fn run_newest(name: &str) {
    let Some(etcdctl) = peer(Peer::Etcdctl).unwrap() else {
        eprintln!("left out: TIDEGATE_WITHOUT_PEERS=1");
        return;
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etcdctl").join(name);
    let script = Script::read(&path);
    let rewrite = std::env::var_os("TIDEGATE_REWRITE").is_some();
    let only = std::env::var("TIDEGATE_ONLY").ok();
    let kinds = if rewrite { &[Kind::Etcd][..] } else { &[Kind::Etcd, Kind::Tidegate] };
    for kind in kinds.iter().filter(|kind| only.as_deref().is_none_or(|only| only == kind.name())) {
        let seen = play(&script, *kind, etcdctl.clone());
        if rewrite {
            std::fs::write(&path, seen.to_string()).unwrap();
        } else {
            script::compare(&script, &seen, &format!("{name} on {}", kind.name()));
        }
    }
}

/// Runs the commands of a script on a new server, and gives the script with what they printed.
fn play(script: &Script, kind: Kind, etcdctl: PathBuf) -> Script {
    let dir = scratch().unwrap();
    let server = Server::start(&Options::new(kind, dir.path().join("data"))).unwrap();
    let mut ctl = Ctl::new(etcdctl, &server);
    let seen = script.map(|command| ctl.run(command));
    drop(server);
    seen
}

#[test]
fn keys_are_put_read_and_deleted_as_in_etcd() {
    run("kv.txt");
}

#[test]
fn transactions_from_stdin_run_as_in_etcd() {
    run("txn.txt");
}

#[test]
fn watches_from_a_past_revision_print_what_etcd_prints() {
    run("watch.txt");
}

#[test]
fn leases_are_granted_kept_alive_and_expire_as_in_etcd() {
    run("lease.txt");
}

#[test]
fn compacted_history_is_refused_as_in_etcd() {
    run("compaction.txt");
}

#[test]
fn the_cluster_shows_itself_as_in_etcd() {
    run("cluster.txt");
}
