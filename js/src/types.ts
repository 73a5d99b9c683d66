/**
 * `Runtime`, `Context` and `Extras`, and the values they exchange.
 *
 * Types only, and a leaf for everything above `state/` and `jupyter/`: a view is drawn with a context, which
 * holds the runtime, which mounts views. Each module imports these types from here instead of from another.
 */
import type { Strings } from "./i18n";
import type { AnyModel, DocumentContext, NotebookModel } from "./jupyter";
import type { Host } from "./jupyter/host";
import type { Highlighter, MathRenderer } from "./markdown";
import type {
  Ack,
  AssetName,
  Attachment,
  Command,
  Connect,
  Connected,
  Described,
  Exported,
  ExportFormat,
  Head,
  Message,
  Part,
  RunRecord,
  SearchResults,
  Send,
  Settings,
  SetView,
  Source,
  Variables,
  WantDescribed,
  WantVariables,
} from "./protocol";
import type { Drafts } from "./state/drafts";
import type { Stats } from "./state/replica";
import type { Store } from "./state/store";

type WithoutId<C> = C extends Command ? Omit<C, "id"> : never;

/** A command as a view gives it; the runtime adds the id. */
export type CommandInput = WithoutId<Command>;

/** The text and the attachments of a message. */
export type Ready = Pick<Send, "text" | "attachments">;

/** What the views of one page share. */
export interface Runtime {
  readonly store: Store;
  /** Whether the host has a kernel that may answer later; false in a page that was saved without one. */
  readonly hasKernel: boolean;
  /** Identifies this page to the kernel. */
  readonly page: string;
  /** Load a session's state if it is missing, and follow it from then on. */
  want(sessionId: string): void;
  /** Load the messages before the first one that is loaded. */
  earlier(sessionId: string): void;
  /** Send a command. A refusal is in `error`; rejects only if the kernel is gone. */
  do(command: CommandInput): Promise<Ack>;
  /** Report which sessions a view shows at the moment. */
  viewing(view: symbol, sessionIds: readonly string[]): void;
  /**
   * Change traits of a view in the kernel. A change of the widget's model would be sent on the widget's
   * comm, which disturbs the cell that runs.
   */
  setView(viewId: string, change: ViewChange): void;
  /** Report that the user is typing in a session; an empty id: in none. It is not repeated. */
  typing(sessionId: string): void;
  readonly drafts: Drafts;
  readonly host: Host;
  /** Search the messages of all sessions; null if a later search replaced this one. */
  search(query: string): Promise<SearchResults | null>;
  /** Request the list of variables, or the description of one; null if the kernel does not answer. */
  askVariables<T extends Variables | Described>(
    request: Pick<WantVariables, "type"> | Pick<WantDescribed, "type" | "name" | "used">,
  ): Promise<T | null>;
  /** Return a session as the text of a file. Rejects only if the kernel is gone. */
  exportSession(sessionId: string, format: ExportFormat): Promise<Exported>;
  /**
   * Try a server, or choose it for the kernel. Rejects with `NoChannel` if the host has no private channel to the
   * kernel.
   */
  connect(input: Pick<Connect, "action" | "base_url" | "api_key" | "model">): Promise<Connected>;
  /** Load a bundle that not every page needs. */
  load(name: AssetName): Promise<AssetModule>;
  /** Return a bundle that has been loaded. */
  loaded(name: AssetName): AssetModule | undefined;
  readonly stats: Readonly<Stats>;
  /** Draw a view in `el`; returns the function that removes it. */
  mount(kind: string, model: AnyModel, el: HTMLElement): () => void;
}

/** Traits of a view that a page can change. */
export type ViewChange = Partial<Pick<SetView, "active" | "session_ids">>;

/** The export of a bundle; each bundle has one of these. */
export interface AssetModule {
  readonly highlighter?: Highlighter;
  readonly maths?: MathRenderer;
  readonly extras?: Extras;
  readonly strings?: Strings;
}

/** A Markdown text that is drawn as it arrives; see `markdown/`. */
export interface Markdown {
  append(text: string): void;
  end(): void;
  reset(text: string, done: boolean): void;
  destroy(): void;
}

/** How to show a session. */
export interface Way {
  /** Whether the composer gets the focus; undefined if no user asked for the session. */
  readonly focus?: boolean;
  /** Message to scroll to. */
  readonly messageId?: string;
}

/** Everything that the parts of a view need from the view they are in. */
export interface Context {
  readonly runtime: Runtime;
  readonly t: Strings;
  /** Language tag, for numbers and dates. */
  readonly locale: string;
  /** The view's outermost element; popups are appended to it. */
  readonly root: HTMLElement;
  /** Aborted when the view is removed. */
  readonly signal: AbortSignal;
  /** Draw Markdown into an element. */
  markdown(element: HTMLElement): Markdown;
  /** Call `use` with the extras: immediately if they are loaded, else when they have arrived. */
  extras(use: (extras: Extras) => void): void;
  /** Which key sends: `enter`, `shift-enter` or `ctrl-enter`. */
  sendKey(): string;
  /** Show a session and its tab, now or as soon as it exists. */
  go(sessionId: string, way?: Way): void;
  /** Announce a text once to screen readers; an empty text clears the announcement. */
  say(text: string): void;
  /** Show a line at the bottom, with buttons. */
  notify(text: string, actions?: readonly (readonly [string, () => void])[]): void;
}

/** A message with everything that its elements depend on. */
export interface Turn {
  readonly message: Message;
  /** The session's id. */
  readonly sessionId: string;
  /** The run that generated it last. */
  readonly run: RunRecord | null;
  /** All versions of this turn, oldest first. */
  readonly versions: readonly Message[];
  /** Indexes of the parts with which continuations began. */
  readonly seams: readonly number[];
  /** The question was refused for its content (of an answer: its question), and later requests leave it out. */
  readonly refused: boolean;
  /** It is the last message of the transcript. */
  readonly last: boolean;
  /** The session has a live run. */
  readonly busy: boolean;
  /** All runs of the session, oldest first. */
  readonly runs: readonly RunRecord[];
  /** Within one generation, texts only grow. */
  readonly generation: number;
}

/** The messages of a session, as their buttons use them. */
export interface MessageLog {
  readonly sessionId: string;
  article(messageId: string): MessageHandle | undefined;
}

/** What the buttons of a message do, by the name of the action. */
export type MessageActions = Readonly<Record<string, (target: HTMLElement, arg: string) => void>>;

/** A message that is shown. */
export interface MessageHandle {
  readonly turn: Turn | null;
  /** The text in the editor, or null if it is closed. */
  readonly edited: string | null;
  edit(): void;
  endEdit(): void;
  refuseEdit(why: string): void;
  toggleDetails(): void;
}

/** The panel of a session. */
export interface SessionPanel {
  readonly element: HTMLElement;
  open(sessionId: string): void;
  update(): void;
  /** Show what changes with time alone; returns whether a run is live. */
  tick(): boolean;
  /** Announce a text once to screen readers. */
  say(text: string): void;
}

/** Sessions beside the chosen one. */
export interface SideViews {
  readonly ids: readonly string[];
  has(id: string): boolean;
  show(id: string): void;
  hide(id: string): void;
  /** Remove the sessions that have no tab. */
  keep(ids: readonly string[]): void;
  update(): void;
  tick(): boolean;
}

/** Queued and unsent questions. */
export interface QueueView {
  readonly element: HTMLElement;
  update(sessionId: string, runs: readonly RunRecord[]): void;
}

/** The other people in a service. */
export interface PeopleView {
  update(sessionId: string): void;
}

/** The form in which a question is edited. */
export interface EditForm {
  readonly element: HTMLElement;
  readonly field: HTMLTextAreaElement;
  focus(): void;
  /** Show beside the text why the change was refused. */
  refuse(why: string): void;
}

/** A session among the tabs of a view, and what the view can do with it. */
export interface TabPlace {
  /** The tabs' sessions, from left to right. */
  readonly ids: readonly string[];
  /** It is shown beside the chosen one; null if it is the chosen one. */
  readonly beside: boolean | null;
  /** Browser notifications; null if this browser has none. */
  readonly notifier: { readonly on: boolean } | null;
  rename(): void;
  openSettings(): void;
  setBeside(beside: boolean): void;
  /** Id of the view. */
  readonly viewId: string;
  /** Move the tab in front of another session's; null moves it to the end. */
  move(before: string | null): void;
}

/** The first screen of an empty session. */
export interface WelcomeScreen {
  readonly element: HTMLElement;
  update(empty: boolean, demo: boolean, provider: string): void;
}

/** Types of parts whose elements are in the extras. */
export type LazyType = "tool_call" | "tool_result" | "file";

/** The elements of such a part. */
export interface PartCard {
  /** @param parts the part; after a tool call, its result. */
  update(parts: readonly Part[], turn: Turn): void;
  destroy(): void;
}

/** What opens at a click, and the first screen: the export of the bundle `extras`. */
export interface Extras {
  closeSession(context: Context, head: Head): Promise<void>;
  /** Draw a part in `element`. */
  createCard(context: Context, element: HTMLElement, type: LazyType): PartCard;
  /** @param putBack puts a question into the composer, if there is one, and focuses the composer. */
  createQueue(context: Context, putBack: (prompt?: Message) => void): QueueView;
  /** Show the other people in the foot of a session's panel. */
  createPeople(context: Context, panel: HTMLElement): PeopleView;
  createSideViews(
    context: Context,
    parent: HTMLElement,
    createPanel: (context: Context) => SessionPanel,
  ): SideViews;
  createWelcome(context: Context): WelcomeScreen;
  detailsOf(context: Context, turn: Turn): HTMLElement[];
  editForm(context: Pick<Context, "t" | "root" | "sendKey">, text: string): EditForm;
  insertCell(
    context: DocumentContext | undefined,
    code: string,
    language: string,
    run: boolean,
  ): Promise<void>;
  messageActions(context: Context, log: MessageLog, edited: () => void): MessageActions;
  openDirectory(context: Context, anchor: Element): void;
  openConnect(context: Context, anchor: Element): void;
  openRename(
    context: Pick<Context, "t">,
    tab: HTMLElement,
    old: string,
    done: (title: string | null, byKey: boolean) => void,
  ): void;
  openSessionMenu(context: Context, anchor: Element, head: Head, place: TabPlace): void;
  openSettings(context: Context, anchor: Element, sessionId: string, settings: Settings): void;
  /** Open the menu of a session's tools. */
  openTools(context: Context, anchor: Element, sessionId: string): void;
  showOutcome(context: Context, element: HTMLElement, turn: Turn): void;
  /** Replace the outputs that an earlier version wrote as raw Markdown. */
  replaceRawOutputs(model: NotebookModel | undefined): void;
  sourceList(context: Context, sources: readonly Source[]): HTMLElement;
  readAttachment(context: Pick<Context, "t">, file: File): Promise<Attachment | string>;
  /** Offer variables where the text of the composer mentions one with `@`. */
  suggestVariables(
    context: Context,
    field: HTMLTextAreaElement,
    sessionId: string,
    prepare: (attached: Promise<void>) => Promise<void>,
  ): Promise<void>;
  /** Return a message as it is sent, with variables described at this moment. */
  readyToSend(
    context: Pick<Context, "t" | "runtime">,
    sessionId: string,
    message: Ready,
  ): Promise<Ready>;
  /** Show what is sent of a variable. */
  showSent(
    context: Pick<Context, "t" | "root" | "signal">,
    anchor: Element,
    part: Attachment,
  ): void;
}
