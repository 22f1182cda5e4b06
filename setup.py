"""Put the bundles and the MONAI Label app of the repository into the wheel, beside the package; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithBundles(build_py):
    """An editable install finds the bundles in the clone, a wheel carries them as `monai_dis/_bundles`."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "monai_dis" / "_bundles"
            shutil.rmtree(target, ignore_errors=True)
            app = Path(self.build_lib) / "monai_dis" / "_apps" / "dis"
            self._copy(ROOT / "apps" / "dis" / "main.py", app / "main.py")
            for metadata in sorted(ROOT.glob("bundles/*/configs/metadata.json")):
                bundle = metadata.parents[1]
                for name in ("configs", "docs", "models", "LICENSE"):
                    self._copy(bundle / name, target / bundle.name / name)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = list(super().get_outputs(include_bytecode))
        target = Path(self.build_lib) / "monai_dis" / "_bundles"
        app = Path(self.build_lib) / "monai_dis" / "_apps"
        return outputs + [str(path) for folder in (target, app) for path in sorted(folder.rglob("*")) if path.is_file()]

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
        elif source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


setup(cmdclass={"build_py": BuildWithBundles})
