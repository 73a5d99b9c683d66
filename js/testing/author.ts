/** `Author`: random events that a kernel could append to a session. */

import type { Event, Message, Part, SessionState } from "../src/protocol";
import { crc32 } from "../src/state/crc32";
import { emptyState, liveRun, transcript } from "../src/state/session";

export class Author {
  #count = 0;

  readonly #random: () => number;
  readonly #prefix: string;

  constructor(random: () => number, prefix: string) {
    this.#random = random;
    this.#prefix = prefix;
  }

  /** Return the next events of a session; sensible ones, as a kernel only has those. */
  next(state: SessionState): Event[] {
    const run = liveRun(state);
    const at = ++this.#count;
    if (state.seq === 0) return [this.#created(at)];
    if (run === undefined) return this.#act(state, at);
    const message = state.messages[run.message_id];
    const index = (message?.parts.length ?? 0) - 1;
    const part = message?.parts[index];
    switch (run.state) {
      case "queued":
        return [this.#started(state, run.id, at)];
      case "connecting":
        if (this.#random() < 0.1) {
          return [{ type: "run_failed", run_id: run.id, at, error: broken(), usage: null }];
        }
        return [this.#part(run.id, at, index + 1)];
      case "paused":
        return [{ type: "run_resumed", run_id: run.id }];
      default: {
        const dice = this.#random();
        if (part === undefined || index < run.first_part)
          return [this.#part(run.id, at, index + 1)];
        if (dice < 0.8) return [this.#delta(run.id, at, index, part)];
        if (dice < 0.84) return [{ type: "run_paused", run_id: run.id, at }];
        if (dice < 0.88) return [ended(run.id, index, part), this.#part(run.id, at, index + 1)];
        if (dice < 0.92 && run.state === "streaming") {
          return [{ type: "stop_requested", run_id: run.id, at }];
        }
        const end = ended(run.id, index, part);
        const finish_reason = "stop";
        if (run.state === "stopping")
          return [
            end,
            { type: "run_stopped", run_id: run.id, at, usage: null, sources: [], notices: [] },
          ];
        return [
          end,
          {
            type: "run_completed",
            run_id: run.id,
            at,
            finish_reason,
            usage: null,
            sources: [],
            notices: [],
          },
        ];
      }
    }
  }

  #act(state: SessionState, at: number): Event[] {
    const path = transcript(state);
    const dice = this.#random();
    const any = path[Math.floor(this.#random() * path.length)];
    const answer = path.findLast((message) => message.role === "assistant");
    const siblings = Object.values(state.messages).filter(
      (other) => any !== undefined && other.parent_id === any.parent_id && other.id !== any.id,
    );
    if (dice < 0.15 && answer !== undefined)
      return [this.#queued(at, "regenerate", answer.parent_id)];
    if (dice < 0.25 && any?.role === "user") return [this.#queued(at, "send", any.parent_id, true)];
    if (dice < 0.35 && siblings[0])
      return [{ type: "message_selected", message_id: siblings[0].id }];
    if (dice < 0.4 && answer !== undefined)
      return [
        { type: "message_removed", message_id: (any?.role === "assistant" ? any : answer).id },
      ];
    if (dice < 0.45) return [{ type: "unread_changed", unread: !state.unread }];
    return [this.#queued(at, "send", null)];
  }

  #created(at: number): Event {
    const { settings } = emptyState("");
    return { type: "session_created", at, settings, temporary: false, thread_id: null };
  }

  #queued(
    at: number,
    kind: "send" | "regenerate",
    parent: string | null,
    rooted = kind !== "send",
  ): Event {
    const id = `${this.#prefix}${at}`;
    const prompt =
      kind === "send" ? message(`q_${id}`, "user", rooted ? parent : null, at, `Q${at}?`) : null;
    return {
      type: "run_queued",
      run_id: `r_${id}`,
      at,
      kind,
      message_id: `a_${id}`,
      prompt,
      rooted,
      parent_id: kind === "send" ? null : parent,
      replaces: null,
      params: {},
    };
  }

  #started(state: SessionState, runId: string, at: number): Event {
    const run = state.runs.find((other) => other.id === runId);
    if (run === undefined) throw new Error("no such run");
    let prompt = run.prompt;
    if (prompt !== null && !run.rooted) {
      prompt = { ...prompt, parent_id: transcript(state).at(-1)?.id ?? null };
    }
    const parent = prompt?.id ?? run.parent_id;
    const answer = { ...message(run.message_id, "assistant", parent, at), run_id: run.id };
    return { type: "run_started", run_id: run.id, at, prompt, answer, model: null };
  }

  #part(run_id: string, at: number, part_index: number): Event {
    return { type: "part_started", run_id, at, part_index, part: { type: "text", text: "" } };
  }

  #delta(run_id: string, at: number, part_index: number, part: Part): Event {
    const pieces = ["The ", "Seine", " é", "👩‍👩‍👧", "中文", "\n\n"];
    const text = pieces[Math.floor(this.#random() * pieces.length)] as string;
    return { type: "part_delta", run_id, at, part_index, offset: part.text.length, text };
  }
}

function ended(run_id: string, part_index: number, part: Part): Event {
  return {
    type: "part_ended",
    run_id,
    part_index,
    length: part.text.length,
    crc32: crc32(part.text),
    seconds: 1,
    call_id: null,
    name: null,
  };
}

function message(
  id: string,
  role: "user" | "assistant",
  parent_id: string | null,
  at: number,
  text = "",
): Message {
  return {
    id,
    role,
    parts: text ? [{ type: "text", text }] : [],
    created_at: at,
    parent_id,
    run_id: null,
    model: null,
    finish_reason: null,
    usage: null,
    sources: [],
    notices: [],
  };
}

function broken() {
  return {
    code: "connect_failed",
    message: "No.",
    stage: "connect" as const,
    retryable: true,
    hint: "",
    http_status: null,
    request_id: null,
    partial_chars: 0,
  };
}
