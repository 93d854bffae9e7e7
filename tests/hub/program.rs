//! `lightbox download` as people and scripts run it.

use crate::rig::{Files, Rig, WEIGHTS, text};
use crate::server::{Fault, Server, TOKEN};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

/// A Hub with a small model.
fn rig(server: impl FnOnce(Files<'_>) -> Server) -> Rig {
    Rig::new(server, &[("config.json", b"{}\n")], 500_000)
}

#[test]
fn the_folder_is_printed_and_holds_the_model() {
    let rig = rig(Server::new);
    let output = rig.run(&["download", "model", "org/model"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let folder = Path::new(text(&output.stdout).trim());
    assert!(folder.starts_with(rig.path("hf/hub/models--org--model/snapshots")), "{}", folder.display());
    assert!(std::fs::read(folder.join(WEIGHTS)).unwrap() == rig.weights);
    let again = rig.run(&["download", "model", "org/model"]);
    assert!(text(&again.stderr).contains("all were here"), "{}", text(&again.stderr));
}

#[test]
fn modelscope_is_another_source_with_variables_of_its_own() {
    let rig = rig(Server::new);
    let load = |endpoint: &str| {
        let mut command = rig.command(&["download", "model", "org/model", "--source", "modelscope"]);
        command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_TOKEN", TOKEN);
        command.env("MODELSCOPE_ENDPOINT", endpoint).output().unwrap()
    };
    let output = load(&rig.server.url);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let folder = Path::new(text(&output.stdout).trim());
    assert!(std::fs::read(folder.join(WEIGHTS)).unwrap() == rig.weights);
    assert!(rig.server.log().iter().all(|request| request.token.is_none()), "another Hub's token is none here");
    let output = load("scope.example");
    assert!(text(&output.stderr).contains("MODELSCOPE_ENDPOINT"), "{}", text(&output.stderr));
}

#[test]
fn json_is_one_object_a_line_and_ends_with_the_folder() {
    let rig = rig(Server::new);
    let output = rig.run(&["download", "model", "org/model", "--json", "--include", "*.safetensors", "--out", "plain"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, before) = lines.split_last().unwrap();
    assert!(
        !before.is_empty() && before.iter().all(|line| line["event"] == "progress" && line["total_bytes"] == 500_000)
    );
    let plain = rig.path("plain").canonicalize().unwrap();
    assert_eq!((&last["event"], &last["files"], &last["bytes"]), (&"done".into(), &1.into(), &500_000.into()));
    assert_eq!(Path::new(last["folder"].as_str().unwrap()).canonicalize().unwrap(), plain);
    assert!(plain.join(WEIGHTS).symlink_metadata().unwrap().is_file() && !plain.join("config.json").exists());
}

#[test]
fn a_gated_model_says_what_to_do_and_a_stored_login_opens_it() {
    let rig = rig(Server::gated);
    let output = rig.run(&["download", "model", "org/model"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{said}");
    assert!(said.contains(&format!("{}/org/model", rig.server.url)) && said.contains("HF_TOKEN"), "{said}");
    assert!(output.stdout.is_empty());
    std::fs::write(rig.path("hf/token"), format!("{TOKEN}\n")).unwrap();
    let output = rig.run(&["download", "model", "org/model"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains(TOKEN));
    assert!(rig.server.log().iter().all(|request| !request.cdn || request.token.is_none()));
}

#[test]
fn ctrl_c_leaves_what_the_same_command_goes_on_with() {
    let rig = rig(Server::new);
    rig.server.fail(WEIGHTS, Fault::Stall(200_000), 1);
    let mut child = rig
        .command(&["download", "model", "org/model", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if line["file_done"] == 200_000 {
            // SAFETY: a signal to a child that was not waited for yet.
            assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
        }
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("the same command goes on"), "{}", text(&output.stderr));
    let output = rig.run(&["download", "model", "org/model"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(rig.server.loads(WEIGHTS), [0, 200_000]);
}

#[test]
fn killed_at_any_operation_on_the_disk_the_next_call_ends_well() {
    let mut kills = 0;
    loop {
        let rig = rig(Server::new);
        let fault = format!("fs#{}=abort", kills + 1);
        let output = rig.command(&["download", "model", "org/model"]).env("LIGHTBOX_FAULTS", &fault).output().unwrap();
        if output.status.success() {
            break;
        }
        kills += 1;
        assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{fault}: {}", text(&output.stderr));
        let output = rig.run(&["download", "model", "org/model"]);
        assert!(output.status.success(), "{fault}: {}", text(&output.stderr));
        let folder = Path::new(text(&output.stdout).trim());
        assert!(std::fs::read(folder.join(WEIGHTS)).unwrap() == rig.weights, "{fault}");
        assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), b"{}\n", "{fault}");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2, "{fault}: nothing is left over");
        assert!(lightbox_core::hub::cached_in(&rig.path("hf/hub"))[0].complete, "{fault}");
    }
    assert!(kills > 20, "only {kills} places to die at");
}

#[test]
fn a_full_disk_is_told_as_one_and_costs_nothing_that_was_loaded() {
    let rig = rig(Server::new);
    let mut command = rig.command(&["download", "model", "org/model"]);
    let output = command.env("LIGHTBOX_FAULTS", "fs.write#5+=error:ENOSPC").output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(22), "{said}");
    assert!(said.contains(".incomplete") && said.contains("No space left"), "{said}");
    let output = rig.run(&["download", "model", "org/model"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let loads = rig.server.loads(WEIGHTS);
    assert!(matches!(loads[..], [0, from] if from > 0), "{loads:?}");
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let rig = rig(Server::new);
    for (args, code, said) in [
        (&["model", "../x"][..], 10, "is no name of a repository"),
        (&["model", "org/model", "--include", "*.gguf"], 10, "it has config.json"),
        (&["model", "org/model", "--revision", "../../x"], 10, "no branch"),
        (&["model", "org/none"], 10, "has no model org/none"),
        (&["picture", "org/model"], 2, "picture"),
    ] {
        let output = rig.run(&[&["download"], args].concat());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
    }
    let output = rig.command(&["download", "model", "org/model"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(10));
    assert!(text(&output.stderr).contains("HF_HUB_OFFLINE"), "{}", text(&output.stderr));
    let output = rig.command(&["download", "model", "org/model"]).env("HF_ENDPOINT", "hub.example").output().unwrap();
    assert!(text(&output.stderr).contains("hub.example"), "{}", text(&output.stderr));
}
