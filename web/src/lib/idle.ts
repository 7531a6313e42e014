// Tells when nobody has touched anything for a while.

/** A timer that every `wake` starts anew. */
export class Idle {
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly afterMs: number,
    private readonly changed: (idle: boolean) => void,
  ) {}

  /** Somebody is there. */
  wake(): void {
    this.changed(false);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.changed(true), this.afterMs);
  }

  /** Tells nothing any more, until the next `wake`. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}
