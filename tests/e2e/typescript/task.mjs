// The program of a job, as the public TypeScript SDK has it.
import { blStartJob } from "@blaxel/core";

blStartJob(async (args) => {
  if (args.fail) throw new Error("as asked");
  console.log(JSON.stringify({ heard: args }));
});
