/**
 * The notebook that the page is in: its metadata, its saving, its cells.
 *
 * The kernel never writes the `.ipynb`; it hands the page a checkpoint, and the page puts that under
 * the notebook's metadata key `nbchat`, from where it travels with the file.
 */
import { newId } from "../ids";
import type { Checkpoint, PageMessage } from "../protocol";
import { type DocumentContext, follow, type NotebookModel } from ".";
import { replaceRawOutputs } from "./raw-outputs";

/** Characters of an output that are drawn anew at an answer's end: JupyterLab draws also what is hidden. */
const SHORT = 32_768;

type Bundle = Checkpoint["transcripts"][string];

/** The metadata key. */
export const KEY = "nbchat";
/** Characters of one piece of what was stored; as UTF-8 it stays below 1 MiB. */
const PIECE = 340_000;

/** What views may use of the host, where it is there. */
export interface Host {
  readonly context?: DocumentContext;
  /** Whether code can be put into new cells; `insertCell` does it. */
  readonly hasCells: boolean;
  /** Whether conversations can be written into the notebook's file. */
  readonly savesInFile: boolean;
}

/** Return what this host offers to views. */
export function hostOf(context: DocumentContext | undefined): Host {
  const hasCells = typeof context?.model?.sharedModel?.insertCell === "function";
  const savesInFile = typeof context?.model?.setMetadata === "function";
  return context === undefined ? { hasCells, savesInFile } : { context, hasCells, savesInFile };
}

/** Carries the notebook's metadata to the kernel, and the kernel's checkpoints into it. */
export class NotebookMetadata {
  #newest: Checkpoint | null = null;
  /** Outputs that wait for the answers' end, or for the notebook to be saved. */
  readonly #waiting = new Map<string, Bundle>();
  #written = 0;
  #epoch = "";

  readonly #context: DocumentContext | undefined;
  readonly #page: string;
  readonly #send: (message: PageMessage) => void;

  constructor(
    context: DocumentContext | undefined,
    page: string,
    send: (message: PageMessage) => void,
  ) {
    this.#context = context;
    this.#page = page;
    this.#send = send;
  }

  /** The version of the checkpoint that is in the notebook; 0 for none of this kernel. */
  get version(): number {
    return this.#written;
  }

  /** Follow the notebook's saving until `end` is aborted. */
  watch(end: AbortSignal): void {
    follow(this.#context?.saveState, end, (state) => {
      if (state !== "started") return;
      this.#show();
      // The signal comes before the document is serialised: what is written now is in the file.
      if (!this.#write()) this.#tell();
    });
  }

  /** Tell the kernel which checkpoint is in the notebook: it is written, or a newer one is wanted. */
  #tell(): void {
    if (this.#epoch === "") return;
    const [page, epoch, version] = [this.#page, this.#epoch, this.#written];
    const path = this.#context?.path ?? "";
    this.#send({ type: "want_checkpoint", id: newId("ask_"), page, epoch, version, path });
  }

  /** Tell the kernel what is stored in the notebook; `null` where there is nothing. */
  sendStored(): void {
    const model = this.#context?.model;
    if (typeof model?.getMetadata !== "function") return;
    const text = JSON.stringify(model.getMetadata(KEY) ?? null);
    const texts = cut(text);
    const id = newId("stored_");
    const path = this.#context?.path ?? "";
    texts.forEach((piece, index) => {
      const of = texts.length;
      this.#send({ type: "stored", id, page: this.#page, piece: index, of, text: piece, path });
    });
  }

  /** Another kernel counts its checkpoints anew. */
  begin(epoch: string): void {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#newest = null;
    this.#written = 0;
    this.#waiting.clear();
    try {
      replaceRawOutputs(this.#context?.model);
    } catch (error) {
      console.warn("nbchat: outputs of an earlier version could not be replaced", error);
    }
  }

  /** Take a checkpoint and write it, if this is the page to do so. */
  take(checkpoint: Checkpoint): void {
    if (checkpoint.version <= Math.max(this.#written, this.#newest?.version ?? 0)) return;
    if (checkpoint.to !== null && checkpoint.to !== this.#page) {
      // The user acts in another page, and that page's notebook is the newer one.
      this.#newest = null;
      this.#waiting.clear();
      return;
    }
    this.#newest = checkpoint;
    this.#write();
    for (const [id, bundle] of Object.entries(checkpoint.transcripts))
      this.#waiting.set(id, bundle);
    if (checkpoint.settled) this.#show(SHORT);
  }

  /** Put what waits, up to a length, into the outputs that are there for where no widget runs. */
  #show(most = Number.POSITIVE_INFINITY): void {
    const ready = new Map<string, Bundle>();
    for (const [id, bundle] of this.#waiting) {
      if ((bundle["text/html"]?.length ?? 0) > most) continue;
      ready.set(id, bundle);
      this.#waiting.delete(id);
    }
    if (ready.size === 0) return;
    try {
      showTranscripts(this.#context?.model, ready);
    } catch (error) {
      console.warn("nbchat: the conversations' outputs could not be written", error);
    }
  }

  /** Write the newest checkpoint, if there is one that is not in the notebook yet, and say so. */
  #write(): boolean {
    const newest = this.#newest;
    const model = this.#context?.model;
    if (newest === null || model?.readOnly || typeof model?.setMetadata !== "function")
      return false;
    try {
      model.setMetadata(KEY, newest.metadata);
      this.#written = newest.version;
      this.#newest = null;
    } catch (error) {
      // It stays the newest: the next save tries again.
      console.warn("nbchat: the notebook's metadata could not be written", error);
      return false;
    }
    this.#tell();
    return true;
  }
}

/** Replace the outputs that have one of these ids and another text. Each is an output of its own. */
function showTranscripts(model: NotebookModel | undefined, bundles: Map<string, Bundle>): void {
  if (model?.readOnly) return;
  for (const { outputs } of model?.cells ?? []) {
    for (let index = 0; index < (outputs?.length ?? 0); index++) {
      const output = outputs?.get?.(index);
      const id = output?.metadata?.nbchat?.transcript;
      const bundle = typeof id === "string" ? bundles.get(id) : undefined;
      if (bundle === undefined || bundle["text/html"] === output?.data?.["text/html"]) continue;
      outputs?.set?.(index, { ...output?.toJSON?.(), data: bundle });
    }
  }
}

/** Cut a text into pieces, between characters and not within one; there is at least one piece. */
function cut(text: string): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length || pieces.length === 0; ) {
    let end = Math.min(at + PIECE, text.length);
    const last = text.charCodeAt(end - 1);
    if (end < text.length && last >= 0xd800 && last < 0xdc00) end--;
    pieces.push(text.slice(at, end));
    at = end;
  }
  return pieces;
}
