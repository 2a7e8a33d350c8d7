//! What the system may refuse at any time: threads. One is always enough, and changes no output.

use super::common::{Home, Ran, copy_folder, golden_model, textgen, texts, vae_words};

/// Runs a command, perhaps where no thread can be started.
fn run(home: &Home, arguments: &str, has_threads: bool) -> Ran {
    let mut command = home.command(textgen());
    command.args(arguments.split(' '));
    if !has_threads {
        // More than any address space has.
        command.env("RUST_MIN_STACK", (1_u64 << 62).to_string());
    }
    Ran::of(&mut command).succeeded()
}

#[test]
fn without_threads_every_command_says_the_same() {
    let home = Home::with_run(texts());
    copy_folder(vae_words(), &home.path("runs/words"));
    let line = "Once upon a time there was a hen, who lived beside the sea.\n";
    home.write("text.txt", line.repeat(300));
    for arguments in [
        "vocab text.txt",
        "generate --run texts --count 5 --length 40 --seed 3",
        "generate --run words --count 5 --seed 3",
        "eval texts --json",
        "eval words --json",
        "eval texts text.txt --json",
        "score text.txt --run texts",
        "neighbours hen --run words",
        "novelty --run texts --seed 3 --length 300",
    ] {
        let [with, without] = [true, false].map(|threads| run(&home, arguments, threads).stdout);
        let timeless = |text: &str| {
            let lines = text.lines().filter(|line| !line.contains("seconds"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(timeless(&with), timeless(&without), "{arguments}");
    }
    let golden = golden_model();
    let golden = golden.display();
    let train =
        "train text.txt --model char-lstm --hidden 8 --steps 4 --device cpu --seed 1 --name";
    let made = [true, false].map(|threads| {
        let name = if threads { "with" } else { "without" };
        let compress = format!("compress text.txt --model-file {golden} --output {name}");
        run(&home, &compress, threads);
        run(&home, &format!("{train} {name}"), threads);
        let files = [name, &format!("runs/{name}/model.safetensors")].map(|file| home.path(file));
        files.map(|file| std::fs::read(file).expect("a file"))
    });
    assert!(made[0] == made[1]);
}
