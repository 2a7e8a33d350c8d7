//! Trainings by several processes; here each is a thread.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::run::{Metrics, Progress};
use crate::train::{Distributed, Report, Threads};

/// What of a training does not depend on the clock.
fn without_times(run: &RunDir) -> (Progress, State, Vec<Metrics>) {
    let timeless = |metrics: Metrics| Metrics {
        seconds: 0.0,
        chars_per_second: 0.0,
        ..metrics
    };
    let mut state = state(run);
    let progress = Progress {
        seconds: 0.0,
        last: (state.progress.last.0, 0.0),
        evaluated: state.progress.evaluated.take().map(timeless),
        ..state.progress.clone()
    };
    let metrics = Metrics::read(&run.metrics_path()).expect("metrics");
    (progress, state, metrics.into_iter().map(timeless).collect())
}

/// Trains a run with `size` threads, all of them until they are told to stop or step `last` is done.
fn train_in(size: usize, run: &RunDir, stops: &[&AtomicBool], last: Option<u64>) -> Vec<Ending> {
    std::thread::scope(|scope| {
        let members = Threads::group(size).into_iter().zip(stops.iter().cycle());
        let members: Vec<_> = members
            .map(|(group, stop)| {
                scope.spawn(move || {
                    let distributed = Rc::new(Distributed::new(Box::new(group)));
                    let trainer = Trainer::in_group(run, &native, distributed, |_| ());
                    let mut trainer = trainer.expect("trainer");
                    trainer.resume().expect("resumed");
                    trainer.plan(stop).expect("a plan");
                    trainer.train_until(stop, last).expect("trained")
                })
            })
            .collect();
        let members = members.into_iter();
        members.map(|one| one.join().expect("no panic")).collect()
    })
}

/// A text with all kinds of dropout, documents that end anywhere, and words whose last batch is smaller.
fn configs(shards: usize) -> Vec<TrainConfig> {
    let all = format!("steps=20 eval-every=6 sample-every=1 ema=0.9 shards={shards}");
    let text = "batch=12 input-dropout=0.1 recurrent-dropout=0.2 valid=0.2 test=0.1 seq-min=5";
    vec![
        with(&with(&text_config(), text), &all),
        with(
            &with(&text_config(), "batch=12 cell=gru loss=last embedding=7"),
            &all,
        ),
        with(
            &with(&word_config(), "batch=24 rate=2 free-bits=0 kl-warmup=0"),
            &all,
        ),
        with(&with(&word_config(), "batch=49 free-bits=0.1"), &all),
    ]
}

#[test]
fn the_number_of_processes_changes_no_bit() {
    for (shards, sizes) in [(4, &[2, 4][..]), (6, &[2, 3, 6])] {
        for config in configs(shards) {
            let folder = tempfile::tempdir().expect("folder");
            let alone = create_run(folder.path(), "alone", &config);
            train(&alone);
            let (progress, state, metrics) = without_times(&alone);
            for &size in sizes {
                let run = create_run(folder.path(), &format!("by-{size}"), &config);
                let endings = train_in(size, &run, &[&GO], None);
                assert_eq!(endings, vec![Ending::Budget; size]);
                let (own_progress, own_state, own_metrics) = without_times(&run);
                assert_eq!(own_progress, progress, "{size} of {shards}");
                assert_eq!(own_metrics, metrics, "{size} of {shards}");
                assert!(own_state.tensors == state.tensors, "{size} of {shards}");
                let files = [&alone, &run].map(|run| {
                    [run.model_path(), run.samples_path()]
                        .map(|path| std::fs::read(path).expect("there"))
                });
                assert!(files[0] == files[1], "{size} of {shards}");
            }
        }
    }
}

#[test]
fn a_training_goes_on_with_another_number_of_processes() {
    for config in configs(4) {
        let folder = tempfile::tempdir().expect("folder");
        let alone = create_run(folder.path(), "alone", &config);
        train(&alone);
        for (first, second) in [(4, 1), (4, 2), (1, 4), (2, 4)] {
            let run = create_run(folder.path(), &format!("{first}-{second}"), &config);
            let endings = train_in(first, &run, &[&GO], Some(9));
            assert_eq!(endings, vec![Ending::Stopped; first]);
            train_in(second, &run, &[&GO], None);
            assert!(
                state(&run).tensors == state(&alone).tensors,
                "{first} {second}"
            );
            assert_eq!(without_times(&run).2, without_times(&alone).2);
        }
    }
}

#[test]
fn when_one_is_to_stop_all_stop_at_the_same_step() {
    for config in configs(4) {
        for after in [0, 3, 8, 40] {
            let folder = tempfile::tempdir().expect("folder");
            let run = create_run(folder.path(), "run", &with(&config, "steps=200"));
            let [go, stop] = [const { AtomicBool::new(false) }; 2];
            std::thread::scope(|scope| {
                let set = || {
                    std::thread::sleep(std::time::Duration::from_millis(after));
                    stop.store(true, Ordering::Relaxed);
                };
                scope.spawn(set);
                let endings = train_in(4, &run, &[&go, &go, &go, &stop], None);
                assert!(endings.iter().all(|ending| *ending == endings[0]));
            });
            train_in(2, &run, &[&GO], None);
            let alone = create_run(folder.path(), "alone", &with(&config, "steps=200"));
            train(&alone);
            assert!(
                state(&run).tensors == state(&alone).tensors,
                "after {after} ms"
            );
        }
    }
}

#[test]
fn the_clock_of_rank_0_decides() {
    let folder = tempfile::tempdir().expect("folder");
    let config = with(
        &text_config(),
        "batch=8 minutes=0.005 shards=4 eval-every=0",
    );
    let run = create_run(folder.path(), "run", &config);
    let endings = train_in(4, &run, &[&GO], None);
    assert_eq!(endings, [Ending::Budget; 4]);
    let (progress, _, metrics) = without_times(&run);
    assert!(progress.step > 0 && metrics.last().is_some_and(|line| line.finished));
}

#[test]
fn all_return_to_the_same_state_after_a_loss_that_is_not_finite() {
    let folder = tempfile::tempdir().expect("folder");
    let changes =
        "batch=8 shards=4 lr=1e30 optimizer=adam clip=0 warmup=0 steps=30 schedule=constant";
    let run = create_run(folder.path(), "run", &with(&text_config(), changes));
    let back = AtomicU64::new(0);
    let errors: Vec<String> = std::thread::scope(|scope| {
        let members = Threads::group(4).into_iter().map(|group| {
            let (run, back) = (&run, &back);
            scope.spawn(move || {
                let distributed = Rc::new(Distributed::new(Box::new(group)));
                let report = |news: Report| {
                    let is_back = matches!(news, Report::RolledBack { .. });
                    back.fetch_add(is_back.into(), Ordering::Relaxed);
                };
                let trainer = Trainer::in_group(run, &native, distributed, report);
                let error = trainer.expect("trainer").train(&GO).expect_err("diverges");
                error.to_string()
            })
        });
        let members: Vec<_> = members.collect();
        let members = members.into_iter();
        members.map(|one| one.join().expect("no panic")).collect()
    });
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    assert_eq!(back.into_inner(), 12);
}

#[test]
fn processes_that_cannot_share_the_shards_or_train_another_run_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let of =
        |name: &str, changes: &str| create_run(folder.path(), name, &with(&text_config(), changes));
    let begin = |runs: [&RunDir; 2]| -> Vec<String> {
        std::thread::scope(|scope| {
            let members = Threads::group(2).into_iter().zip(runs);
            let members: Vec<_> = members
                .map(|(group, run)| {
                    scope.spawn(move || {
                        let distributed = Rc::new(Distributed::new(Box::new(group)));
                        let trainer = Trainer::in_group(run, &native, distributed, |_| ());
                        trainer.map_or_else(|error| error.to_string(), |_| String::new())
                    })
                })
                .collect();
            let members = members.into_iter();
            members.map(|one| one.join().expect("no panic")).collect()
        })
    };
    let odd = of("odd", "shards=3");
    assert_eq!(
        begin([&odd, &odd])[0],
        "2 processes cannot share 3 shards evenly"
    );
    let [one, other] = [("one", "shards=2"), ("other", "shards=2 lr=0.5")]
        .map(|(name, changes)| of(name, changes));
    assert_eq!(
        begin([&one, &other])[1],
        "process 1 and process 0 do not agree on config.toml"
    );
    assert_eq!(begin([&one, &one]), ["", ""]);
}
