//! What a build says about itself: the manifest with the SHA-256 of everything.

use fs_err as fs;
use xenolith_store::{Graph, Input, StepName, StepSpec};

use super::Plan;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Adds the step.
///
/// # Errors
/// Never so far.
pub fn add(plan: &Plan, graph: &mut Graph) -> Result<(), Failed> {
    let identity = serde_json::to_value(&plan.identity)?;
    graph.add(
        StepSpec::new(StepName::of("describe"), move |context| {
            let text = serde_json::to_vec_pretty(&identity)?;
            fs::write(context.out().join("manifest.json"), text)?;
            Ok(())
        })
        .input("root", Input::Step(StepName::of("root"))),
    )?;
    Ok(())
}
