import { expect, it } from "vitest";
import { environmentSecret } from "../../src/system/environment-secret.js";

const of = { option: "sampler.apiKeyEnv", what: "the server's key" };

it("a secret is the value of the variable that an option names", () => {
  expect(environmentSecret("KEY", of, { KEY: "s3cret" })).toBe("s3cret");
  expect(environmentSecret(null, of, { KEY: "s3cret" })).toBeNull();
});

it("a variable that is empty or not set is refused with its name and what to put there", () => {
  for (const environment of [{ KEY: "" }, {}])
    expect(() => environmentSecret("KEY", of, environment)).toThrow(
      'WEIR_E_CONFIG: option "sampler.apiKeyEnv": the environment variable KEY is empty; set it to the server\'s key',
    );
});
