// textgen: the types of a model as a module.

/** A text that the model has read. */
export interface State {}

/** A character that may follow. */
export interface Next {
  /** Empty at the end of a document. */
  text: string;
  /** Its probability, 0 to 1. */
  p: number;
}

/** How a text is written. */
export interface TextOptions {
  prompt?: string;
  /** The most characters; 500 by default. */
  length?: number;
  /** 0 takes the most probable character each time; 1, the default, is the model's own distribution. */
  temperature?: number;
  /** Samples from the most probable characters that together reach this probability; 1, the default, is no limit. */
  topP?: number;
  /** A whole number below 2⁶⁴; 0 by default. One seed gives one text, that of `textgen generate --seed`. */
  seed?: number | bigint | string;
}

/** How words are invented. */
export interface WordOptions {
  startsWith?: string;
  /** 20 by default. */
  count?: number;
  temperature?: number;
  seed?: number | bigint | string;
  /** The least and most letters. */
  least?: number;
  most?: number;
}

/** Unpacks the model; every other function needs it. */
export function load(): Promise<void>;
/** A state after a prompt, of a model of texts. */
export function state(prompt?: string): State;
/** The most probable next characters. */
export function next(state: State, count?: number): Next[];
/** Reads a character or more; returns what may follow. */
export function step(state: State, char: string): Next[];
/** Writes a text, or invents words if the model is one of words. */
export function generate(options?: TextOptions): string;
export function generate(options?: WordOptions): string[];
