/** Questions to a judge with the verdict that a person gives: two ways to write one answer, or two answers. */
import type { JudgeQuery } from "../src/contracts/judge.js";

export interface JudgedQuestion extends JudgeQuery {
  readonly equal: boolean;
}

/** A question, its answer, another way to write it, and a wrong answer. */
const FACTS: readonly (readonly [problem: string, gold: string, same: string, other: string])[] = [
  ["What is the capital of France?", "Paris", "paris", "Lyon"],
  ["What is the capital of Italy?", "Rome", "Roma", "Milan"],
  ["Who wrote Hamlet?", "William Shakespeare", "Shakespeare", "Charles Dickens"],
  ["How many days has a week?", "7", "seven", "5"],
  ["What is the largest planet?", "Jupiter", "the planet Jupiter", "Mars"],
  ["In which year did the war end?", "1945", "in 1945", "1918"],
  ["How much did the firm earn?", "$1.5 million", "1,500,000 dollars", "$2.5 million"],
  ["Which metal is liquid at room temperature?", "mercury", "Hg (mercury)", "iron"],
  ["Who painted the Mona Lisa?", "Leonardo da Vinci", "da Vinci", "Michelangelo"],
  ["What is the boiling point of water?", "100 °C", "100 degrees Celsius", "50 °C"],
  ["Which ocean is the largest?", "Pacific", "the Pacific Ocean", "Atlantic"],
  ["Did both parties sign the contract?", "yes", "Yes, both did", "no"],
  ["What is the share of exports?", "12.5%", "12.5 percent", "25%"],
  ["Who discovered penicillin?", "Alexander Fleming", "Fleming", "Marie Curie"],
  ["How long is the river?", "300 km", "300 kilometres", "30 km"],
  ["Which language is spoken in Brazil?", "Portuguese", "portuguese", "Spanish"],
  ["What is the currency of Japan?", "yen", "the yen", "dollar"],
  ["Which month has 28 days?", "February", "Feb.", "March"],
  ["Where is the company based?", "New York", "New York City", "Boston"],
  ["What is two thirds of nine?", "6", "six", "3"],
];
const WRAPPINGS: readonly ((text: string) => string)[] = [
  (text) => text,
  (text) => `${text}.`,
  (text) => `It is ${text}`,
  (text) => `"${text}"`,
  (text) => `The answer is ${text}`,
];

/** 200 questions, half of them about equal answers, in a fixed order. */
export const JUDGED_QUESTIONS: readonly JudgedQuestion[] = WRAPPINGS.flatMap((wrap) =>
  FACTS.flatMap(([problem, gold, same, other]) => [
    { problem, gold, prediction: wrap(same), equal: true },
    { problem, gold, prediction: wrap(other), equal: false },
  ]),
);
