/**
 * `NotebookMetadata`: reads and writes the metadata of the notebook that the page is in.
 *
 * The kernel never writes the `.ipynb`. It sends the page a checkpoint, and the page stores it under the notebook's
 * metadata key `nbchat`, so that it is saved with the file.
 */
import { newId } from "../ids";
import type { Checkpoint, PageMessage } from "../protocol";
import { type DocumentContext, follow, hasPanels, type NotebookModel } from ".";

/** Characters of an output that are drawn anew at an answer's end: JupyterLab draws also what is hidden. */
const SHORT = 32_768;

type Bundle = Checkpoint["transcripts"][string];

/** The metadata key. */
export const KEY = "nbchat";
/** Characters of one piece of the stored metadata; as UTF-8 it is below 1 MiB. */
const PIECE = 340_000;

/** Features of the host that views can use. */
export interface Host {
  readonly context?: DocumentContext;
  /** Whether `insertCell` works. */
  readonly hasCells: boolean;
  /** Whether a view can be opened in a panel beside the notebook. */
  readonly hasPanels: boolean;
  /** Whether conversations can be written into the notebook's file. */
  readonly savesInFile: boolean;
}

/** Return the features of this host. */
export function hostOf(context: DocumentContext | undefined): Host {
  const hasCells = typeof context?.model?.sharedModel?.insertCell === "function";
  const savesInFile = typeof context?.model?.setMetadata === "function";
  const features = { hasCells, hasPanels: hasPanels(context), savesInFile };
  return context === undefined ? features : { context, ...features };
}

/** Sends the notebook's metadata to the kernel, and writes checkpoints into it. */
export class NotebookMetadata {
  #newest: Checkpoint | null = null;
  /** Outputs to be written when the answers end or the notebook is saved. */
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

  /** Version of the checkpoint in the notebook; 0 if it has none of this kernel. */
  get version(): number {
    return this.#written;
  }

  /** React to saves of the notebook until `end` is aborted. */
  watch(end: AbortSignal): void {
    follow(this.#context?.saveState, end, (state) => {
      if (state !== "started") return;
      this.#show();
      // The signal is emitted before the document is serialised, so this is still saved.
      if (!this.#write()) this.#tell();
    });
  }

  /** Report the checkpoint in the notebook to the kernel, or request a newer one. */
  #tell(): void {
    if (this.#epoch === "") return;
    const [page, epoch, version] = [this.#page, this.#epoch, this.#written];
    const path = this.#context?.path ?? "";
    this.#send({ type: "want_checkpoint", id: newId("ask_"), page, epoch, version, path });
  }

  /** Send the stored metadata to the kernel: `null` if nothing is stored, no pieces without a notebook. */
  sendStored(): void {
    const model = this.#context?.model;
    const readable = typeof model?.getMetadata === "function";
    const texts = readable ? cut(JSON.stringify(model.getMetadata?.(KEY) ?? null)) : [];
    const [of, id, page] = [texts.length, newId("stored_"), this.#page];
    const path = this.#context?.path ?? "";
    (of > 0 ? texts : [""]).forEach((text, piece) => {
      this.#send({ type: "stored", id, page, piece, of, text, path });
    });
  }

  /** Restart the count of checkpoints for another kernel. */
  begin(epoch: string): void {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#newest = null;
    this.#written = 0;
    this.#waiting.clear();
  }

  /** Take a checkpoint and write it, if it is for this page. */
  take(checkpoint: Checkpoint): void {
    if (checkpoint.version <= Math.max(this.#written, this.#newest?.version ?? 0)) return;
    if (checkpoint.to !== null && checkpoint.to !== this.#page) {
      // The user acts in another page, whose notebook is newer.
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

  /** Write the newest checkpoint, unless the notebook has it, and report that. */
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
      // The next save tries again.
      console.warn("nbchat: the notebook's metadata could not be written", error);
      return false;
    }
    this.#tell();
    return true;
  }
}

/** Replace the outputs with these ids whose text differs. Each is an output of its own. */
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

/** Cut a text into pieces between characters; returns at least one piece. */
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
