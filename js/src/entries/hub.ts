/** The module of the hub widget. Each kernel has one; it has no view and owns the runtime. */

import { type AnyModel, documentOf } from "../jupyter";
import { mountView } from "../view/index";
import { placeOf, runtimesOf } from "./exchange";
import { PageRuntime } from "./runtime";

/** Create the runtime for this hub widget, or take over one whose kernel was restarted. */
function initialize({ model }: { model: AnyModel }): () => void {
  const version = String(model.get("version") ?? "");
  const manager = model.widget_manager;
  const orphan = runtimesOf(manager).find((made) => made.orphaned && made.version === version);
  const runtime = orphan ?? new PageRuntime(version, documentOf(manager), mountView);
  runtime.attach(model);
  placeOf(manager, String(model.get("epoch") ?? "")).offer(runtime);
  return () => runtime.release(model);
}

export default { initialize };
