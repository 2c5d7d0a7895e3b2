/** A transcript that is being edited: every edit is saved at once, one call after the other. */

import { computed, signal } from "@preact/signals";
import { ApiError, discardEdits, getResult, saveSegments } from "../api/client";
import type { Result, Segment } from "../api/types";
import { reason } from "../text";
import { begun, redo, step, undo, type History } from "./document";

export type Saving =
  { state: "saved" } | { state: "saving" } | { state: "failed"; message: string } | { state: "conflict" };

export class Editing {
  readonly result;
  readonly saving = signal<Saving>({ state: "saved" });
  readonly segments;
  readonly canUndo;
  readonly canRedo;
  private readonly history;
  private revision: number;
  private dirty = false;
  private work: Promise<void> = Promise.resolve();

  constructor(
    private readonly job: string,
    private readonly file: number,
    result: Result,
  ) {
    this.result = signal(result);
    this.revision = result.revision;
    this.history = signal<History<readonly Segment[]>>(begun(result.segments));
    this.segments = computed(() => this.history.value.present);
    this.canUndo = computed(() => this.history.value.past.length > 0);
    this.canRedo = computed(() => this.history.value.future.length > 0);
  }

  /** Makes an edit, and saves it. */
  apply(segments: readonly Segment[]): void {
    if (same(segments, this.segments.value)) return;
    this.history.value = step(this.history.value, segments);
    this.save();
  }

  undo(): void {
    if (!this.canUndo.value) return;
    this.history.value = undo(this.history.value);
    this.save();
  }

  redo(): void {
    if (!this.canRedo.value) return;
    this.history.value = redo(this.history.value);
    this.save();
  }

  /** Saves what is not saved; for the button after a failure. */
  save(): void {
    this.dirty = true;
    if (this.saving.value.state === "conflict") return;
    if (this.saving.value.state !== "saving") {
      this.saving.value = { state: "saving" };
      this.work = this.saveAll();
    }
  }

  /** Waits until everything is saved; false where it could not be. */
  async settled(): Promise<boolean> {
    await this.work;
    return this.saving.value.state === "saved";
  }

  /** After a conflict: takes what the other person saved. What was edited here can be had back by undoing. */
  async takeTheirs(): Promise<void> {
    const result = await getResult(this.job, this.file);
    this.dirty = false;
    this.revision = result.revision;
    this.result.value = result;
    this.history.value = step(this.history.value, result.segments);
    this.saving.value = { state: "saved" };
  }

  /** After a conflict: saves what is here over what the other person saved. */
  async keepMine(): Promise<void> {
    this.revision = (await getResult(this.job, this.file)).revision;
    this.saving.value = { state: "saved" };
    this.save();
  }

  /** Goes back to what the model heard, as an edit that can be undone. */
  async startOver(): Promise<void> {
    await this.work;
    const result = await discardEdits(this.job, this.file);
    this.revision = result.revision;
    this.result.value = result;
    this.history.value = step(this.history.value, result.segments);
  }

  private async saveAll(): Promise<void> {
    while (this.dirty) {
      this.dirty = false;
      const sent = this.segments.value;
      try {
        const result = await saveSegments(this.job, this.file, this.revision, [...sent]);
        this.revision = result.revision;
        this.result.value = result;
        // The answer has the times of new words. What was edited meanwhile counts more.
        if (this.segments.value === sent) this.history.value = { ...this.history.value, present: result.segments };
      } catch (error) {
        this.dirty = true;
        const conflict = error instanceof ApiError && error.code === "revision_conflict";
        this.saving.value = conflict ? { state: "conflict" } : { state: "failed", message: reason(error) };
        return;
      }
    }
    this.saving.value = { state: "saved" };
  }
}

function same(a: readonly Segment[], b: readonly Segment[]): boolean {
  return (
    a.length === b.length &&
    a.every((segment, index) => {
      const other = b[index];
      return segment.start === other?.start && segment.end === other.end && segment.text === other.text;
    })
  );
}
