import { expect, it } from "vitest";
import { environmentSecret, secretValue } from "../../src/system/environment-secret.js";

const of = { option: "sampler.apiKeyEnv", what: "the server's key" };

it("a secret is the value of the variable that an option names", () => {
  expect(environmentSecret("KEY", of, { KEY: "s3cret" })).toBe("s3cret");
  expect(environmentSecret(null, of, { KEY: "s3cret" })).toBeNull();
});

it("white space at the ends of a secret is none of it: a file read into a variable ends in a new line", () => {
  expect(environmentSecret("KEY", of, { KEY: " s3cret\r\n" })).toBe("s3cret");
  expect(secretValue("KEY", { KEY: "s3cret\n" })).toBe("s3cret");
  expect([secretValue(null, {}), secretValue("KEY", {}), secretValue("KEY", { KEY: " \n" })]).toEqual([
    null,
    null,
    null,
  ]);
});

it.each(["two words", "two\nlines", "schlüssel", "a\u0000b"])(
  "a secret that no header carries is refused: %j",
  (KEY) => {
    expect(() => environmentSecret("KEY", of, { KEY })).toThrow(
      /WEIR_E_CONFIG.*KEY holds other characters than visible/,
    );
  },
);

it("a variable that is empty or not set is refused with its name and what to put there", () => {
  for (const environment of [{ KEY: "" }, { KEY: " \n" }, {}])
    expect(() => environmentSecret("KEY", of, environment)).toThrow(
      'WEIR_E_CONFIG: option "sampler.apiKeyEnv": the environment variable KEY is empty; set it to the server\'s key',
    );
});
