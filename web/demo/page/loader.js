// Starts the page's program, and says so if it cannot. Everything else is the program's.
import init from "./switchboard_demo.js";

init().catch((error) => {
  document.body.dataset.app = "failed";
  const notice = document.getElementById("failure");
  notice.textContent = `The page's program did not start: ${error}`;
  notice.hidden = false;
});
