//! Which hooks are chosen, and why better ones are not.

use serde_json::Value;

use crate::common::sandbox::Sandbox;
use crate::common::skip::or_skip;
use crate::common::tracer::Tracer;
use crate::{commands, table};

/// The record `start` of a run with these options.
fn start_record(sandbox: &Sandbox, tracer: &str, options: &[&str]) -> Value {
    let command = sandbox.command(tracer, ["--json"].iter().chain(options));
    Tracer::start(command).stop().records().remove(0)
}

/// What is observed, and through which hook.
fn chosen(start: &Value) -> Vec<(&str, &str)> {
    let hooks = start["hooks"].as_array().unwrap();
    hooks.iter().map(|hook| (hook["observes"].as_str().unwrap(), hook["hook"].as_str().unwrap())).collect()
}

#[test]
fn each_tracer_chooses_the_best_hook_that_this_kernel_has() {
    let sandbox = or_skip!(Sandbox::new());
    let kernel = std::env::var("TEST_KERNEL").ok();
    for (tracer, options) in commands() {
        let start = start_record(&sandbox, tracer, &options);
        let rows = table().into_iter().filter(|row| row.tracer == tracer && row.options == options);
        let expected: Vec<(&str, &str)> = rows
            .filter(|row| kernel.as_ref().is_some_and(|name| row.kernels.contains(&name.as_str())))
            .map(|row| (row.observes, row.hook))
            .collect();
        match &kernel {
            Some(name) => assert_eq!(chosen(&start), expected, "{tracer} on {name}: {start:#}"),
            None => assert!(!chosen(&start).is_empty(), "{tracer}: {start:#}"),
        }
    }
}

#[test]
fn each_better_hook_that_is_not_used_is_named_with_the_reason() {
    let sandbox = or_skip!(Sandbox::new());
    for (tracer, options) in commands() {
        let start = start_record(&sandbox, tracer, &options);
        for hook in start["hooks"].as_array().unwrap() {
            for refused in hook["refused"].as_array().unwrap() {
                assert_ne!(refused["hook"], hook["hook"], "{start:#}");
                assert!(!refused["reason"].as_str().unwrap().is_empty(), "{start:#}");
            }
        }
    }
}
