// Opens a study in OHIF, puts a segmentation over the images, goes to one of them and takes a picture.
// Usage: node ohif_picture.cjs DRIVER BROWSER ADDRESS STUDY TITLE POSITION PICTURE
// POSITION is what the viewer shows in its corner, such as "(12/24)". Prints the viewport's place in the picture as JSON.
const [driver, browser, address, study, title, position, picture] = process.argv.slice(2);
const { chromium } = require(driver);

const PATIENCE = { timeout: 240000 };
const STEPS = 500;

const options = [
  "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  // Nothing but this machine has an address.
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
];

function isColoured() {
  const canvas = document.querySelector("canvas.cornerstone-canvas");
  if (canvas === null) return false; // not there yet
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    const [low, high] = [Math.min(...pixels.slice(i, i + 3)), Math.max(...pixels.slice(i, i + 3))];
    count += high - low > 25;
  }
  return count > 100;
}

async function main() {
  const chrome = await chromium.launch({ executablePath: browser, args: options });
  try {
    const page = await chrome.newPage({ viewport: { width: 1280, height: 800 } });
    page.setDefaultTimeout(PATIENCE.timeout);
    await page.goto(`${address}/viewer?StudyInstanceUIDs=${study}`, PATIENCE);
    await page.waitForSelector("canvas.cornerstone-canvas");
    await page.getByText("Skip all").click();
    await page.getByText(title).dblclick();
    await page.waitForFunction(isColoured, undefined, { ...PATIENCE, polling: 1000 });
    const viewport = await page.locator("canvas.cornerstone-canvas").first().boundingBox();
    await page.mouse.move(viewport.x + viewport.width / 2, viewport.y + viewport.height / 2);
    for (let step = 0; !(await page.getByText(position).isVisible()); step++) {
      if (step === STEPS) throw new Error(`${position} is not reached`);
      await page.mouse.wheel(0, 100);
      await page.waitForTimeout(200);
    }
    await page.mouse.move(0, 0);
    await page.waitForTimeout(3000); // the last drawing is not announced
    await page.screenshot({ path: picture });
    console.log(JSON.stringify(viewport));
  } finally {
    await chrome.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
