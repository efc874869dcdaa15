// Two versions side by side: what the server rendered becomes views that are zoomed, moved or played in step.
import { keys, modes, say } from "./compare/stage";
import { pictures } from "./compare/pictures";
import { plays } from "./compare/plays";
import type { Told } from "./compare/told";

const told = JSON.parse(document.getElementById("told")!.textContent!) as Told;
const stage = document.getElementById("stage")!;

modes(stage);
keys(stage);
if ("plays" in stage.dataset) plays(stage, told);
else pictures(stage, told).catch((error: Error) => say(`The pictures can't be compared here: ${error.message}`));
