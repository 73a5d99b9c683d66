/** `Pieces`: reads packets out of comm messages, and joins those that were cut. */
import type { Packet } from "../protocol";

/** Limits of incomplete packets and their bytes; the oldest is dropped first. */
const MAX_PACKETS = 8;
const MAX_BYTES = 64 * 1024 * 1024;

interface Incomplete {
  readonly pieces: (Uint8Array | undefined)[];
  missing: number;
  bytes: number;
}

export class Pieces {
  readonly #waiting = new Map<string, Incomplete>();
  readonly #decoder = new TextDecoder();
  #bytes = 0;

  /**
   * Return the packet that a comm message completes; null if pieces of it are missing, or if the message is
   * not part of a packet. Throws if the packet cannot be read.
   */
  read(content: unknown, buffers: unknown): Packet | null {
    const { nbchat, piece, of } = (content ?? {}) as Record<string, unknown>;
    const view = Array.isArray(buffers) ? (buffers[0] as DataView | undefined) : undefined;
    if (nbchat === undefined || view === undefined) return null;
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const whole = this.take(String(nbchat), Number(piece), Number(of), bytes);
    if (whole === null) return null;
    const packet: Packet = JSON.parse(this.#decoder.decode(whole));
    if (packet.type !== "packet") throw new Error(`not a packet: ${packet.type}`);
    return packet;
  }

  /** Take a piece, in any order and any number of times; return the packet that it completes. */
  take(key: string, piece: number, of: number, bytes: Uint8Array): Uint8Array | null {
    if (of === 1) return bytes;
    if (!(Number.isInteger(piece) && piece >= 0 && piece < of && of <= 4096)) return null;
    const packet = this.#waiting.get(key) ?? this.#begin(key, of);
    if (of !== packet.pieces.length || packet.pieces[piece] !== undefined) return null;
    packet.pieces[piece] = bytes;
    packet.bytes += bytes.byteLength;
    this.#bytes += bytes.byteLength;
    if (--packet.missing > 0) {
      this.#trim(key);
      return null;
    }
    this.#forget(key, packet);
    return joined(packet);
  }

  #begin(key: string, of: number): Incomplete {
    const packet = { pieces: new Array(of).fill(undefined), missing: of, bytes: 0 };
    this.#waiting.set(key, packet);
    return packet;
  }

  #trim(current: string): void {
    for (const [key, packet] of this.#waiting) {
      if (this.#waiting.size <= MAX_PACKETS && this.#bytes <= MAX_BYTES) return;
      if (key !== current) this.#forget(key, packet);
    }
  }

  #forget(key: string, packet: Incomplete): void {
    this.#waiting.delete(key);
    this.#bytes -= packet.bytes;
  }
}

function joined({ pieces, bytes }: Incomplete): Uint8Array {
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces as Uint8Array[]) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}
