//! What the tool says of itself.

use clap::{Args, Command, Parser};
use tidegate_ctl::{Ctl, Streams, run};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    ctl: Ctl,
}

#[test]
fn every_verb_has_a_help_with_an_example() {
    let command = Ctl::augment_args(Command::new("ctl"));
    command.clone().debug_assert();
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let name = verb.get_name();
        assert!(verb.get_about().is_some(), "{name}");
        let example = verb.get_after_help().unwrap_or_else(|| panic!("{name} has no example")).to_string();
        assert!(example.contains(&format!("ctl {name}")), "{name}: {example}");
    }
    every_word_says_something(&command);
}

fn every_word_says_something(command: &Command) {
    let name = command.get_name();
    assert!(command.get_about().is_some(), "{name} says nothing");
    for argument in command.get_arguments() {
        assert!(argument.get_help().is_some(), "{name}: {} says nothing", argument.get_id());
    }
    command.get_subcommands().for_each(every_word_says_something);
}

#[test]
fn the_manual_has_every_verb() {
    let manual = include_str!("../../../docs/ctl.md");
    for verb in Ctl::augment_args(Command::new("ctl")).get_subcommands() {
        assert!(manual.contains(&format!("`ctl {}", verb.get_name())), "{} is not in docs/ctl.md", verb.get_name());
    }
}

#[test]
fn shells_complete_verbs_and_flags() {
    for (shell, begin) in [("bash", "_tidegate()"), ("zsh", "#compdef tidegate"), ("fish", "complete -c tidegate")] {
        let Cli { ctl } = Cli::try_parse_from(["ctl", "completion", shell]).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert!(run(&ctl, Streams { input: &mut &b""[..], out: &mut out, err: &mut err }), "{shell}");
        let script = String::from_utf8(out).unwrap();
        assert!(script.contains(begin), "{shell}");
        for word in ["ctl", "httpproxy", "dry-run", "api-resources"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
