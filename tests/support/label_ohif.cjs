// Drives the OHIF that MONAI Label serves: connect, segment, show where to look is another model, place a point, and pictures of each.
// Usage: node label_ohif.cjs DRIVER BROWSER SERVER STUDY MODEL CLICKS_MODEL SLICE SEGMENT FOLDER
// Prints as JSON how many coloured pixels the image shows after each step.
const [driver, browser, server, study, model, clicksModel, slice, segment, folder] = process.argv.slice(2);
const { chromium } = require(driver);

const PATIENCE = { timeout: 240000 };
const options = [
  "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  // Nothing but this machine has an address.
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
];

// Coloured pixels of the image, by kind: red, green or blue is the strongest.
function coloured() {
  const canvas = document.querySelector("canvas.cornerstone-canvas");
  if (canvas === null) return null;
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const count = [0, 0, 0];
  for (let i = 0; i < pixels.length; i += 4) {
    const rgb = [pixels[i], pixels[i + 1], pixels[i + 2]];
    if (Math.max(...rgb) - Math.min(...rgb) > 25) count[rgb.indexOf(Math.max(...rgb))]++;
  }
  return count;
}

async function main() {
  const chrome = await chromium.launch({ executablePath: browser, args: options });
  const counts = {};
  try {
    const page = await chrome.newPage({ viewport: { width: 1280, height: 800 } });
    page.setDefaultTimeout(PATIENCE.timeout);
    if (process.env.LABEL_OHIF_LOUD) page.on("console", (message) => console.error(message.text().slice(0, 300)));
    const see = async (name) => {
      await page.waitForTimeout(4000); // the last drawing is not announced
      counts[name] = await page.evaluate(coloured);
      await page.screenshot({ path: `${folder}/${name}.png` });
    };
    const run = async (tab, name) => {
      await page.locator(`input[value=${tab}]`).evaluate((each) => each.click());
      const box = page.locator(".tab", { has: page.locator(`input[value=${tab}]`) });
      await box.locator("select.selectBox").first().selectOption(name);
      const answered = page.waitForResponse((each) => each.url().includes("/infer/"), PATIENCE);
      await box.locator(".modelSelector button.actionButton").first().click();
      const status = (await answered).status();
      counts[`${name} status`] = status;
      return status;
    };
    let viewport;
    const connect = async () => {
      await page.goto(`${server}/ohif/monai-label?StudyInstanceUIDs=${study}`, PATIENCE);
      await page.waitForSelector("canvas.cornerstone-canvas");
      await page.waitForTimeout(5000);
      await page.screenshot({ path: `${folder}/1_opened.png` });
      const address = page.locator("input[name=monailabelServerURL]");
      await address.fill(`${server}/`);
      await address.blur();
      await page.locator(".settingsTable .actionButton").click();
      await page.waitForFunction(() => document.querySelectorAll(".tab-content option").length > 0, undefined, PATIENCE);
      viewport = await page.locator("canvas.cornerstone-canvas").first().boundingBox();
      await page.mouse.move(viewport.x + viewport.width / 2, viewport.y + viewport.height / 2);
      for (let step = 0; step < Number(slice); step++) {
        await page.mouse.wheel(0, 100);
        await page.waitForTimeout(150);
      }
    };
    // The panel looks which series is shown one second after it is made; where the page is slower than that, it never knows.
    for (let attempt = 1; ; attempt++) {
      await connect();
      if (attempt === 1) await see("2_connected");
      if ((await run("segmentation", model)) === 200) break;
      if (attempt === 6) throw new Error("the viewer does not know its series");
    }
    await see("3_segmented");
    // The segment that the point is of: its rows in the lists, of which one is shown, take the click.
    for (const row of await page.getByText(segment, { exact: true }).all()) await row.evaluate((each) => each.click());
    await page.waitForTimeout(1000);
    if (process.env.LABEL_OHIF_LOUD) {
      const active = () => JSON.stringify([window.services?.segmentationService?.getActiveSegment?.() ?? "not known"]);
      console.error("active segment", await page.evaluate(active));
    }
    await page.locator("input[value=smartedit]").evaluate((each) => each.click());
    await page.waitForTimeout(1000);
    const [right, down] = (process.env.LABEL_OHIF_POINT || "0.4 0.5").split(" ").map(Number);
    await page.mouse.click(viewport.x + viewport.width * right, viewport.y + viewport.height * down);
    await page.waitForTimeout(1000);
    await run("smartedit", clicksModel);
    await see("4_clicked");
    await run("segmentation", `${model}_look`);
    await see("5_look");
    console.log(JSON.stringify(counts));
  } catch (error) {
    console.error(JSON.stringify(counts));
    throw error;
  } finally {
    await chrome.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
