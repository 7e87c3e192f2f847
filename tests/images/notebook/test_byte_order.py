"""Files that a PC has written, read on s390x, and the other way round: as docs/packages.md says."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import docker
import pytest

from tests.images.notebook.test_packages import USES, Z, built, native, use

pytestmark = [pytest.mark.engine, pytest.mark.long]

#: The sets of docs/packages.md with packages whose files and numbers have a byte order.
SETS = (
    *("python3-h5py", "python3-netcdf4", "python3-skimage", "python3-xgboost", "python3-torch"),
    *("python3-onnx", "python3-onnxruntime", "python3-sqlalchemy", "python3-psycopg"),
    *("python3-pyodbc", "odbc-postgresql", "tdsodbc", "odbc-mariadb", "python3-oracledb"),
    *("python3-pymssql", "python3-pymysql"),
)

#: Packages of the default image whose files and numbers have a byte order.
DEFAULT = ("python3-pandas", "python3-sklearn", "python3-statsmodels", "python3-matplotlib")

WRITE = """
    import pickle, warnings
    import h5py, joblib, netCDF4, numpy, onnx, onnx.numpy_helper, pandas, torch, xgboost
    import PIL.Image, sklearn.ensemble, sklearn.neighbors
    warnings.simplefilter("ignore")  # Debian's about Stata
    x = numpy.arange(40.0).reshape(-1, 1)
    numpy.save("x.npy", x)
    numpy.savez("x.npz", x=x)
    with h5py.File("x.h5", "w") as file:
        file["x"] = x
    with netCDF4.Dataset("x.nc", "w") as file:
        file.createDimension("n", 40)
        file.createVariable("x", "f8", ("n",))[:] = x[:, 0]
    frame = pandas.DataFrame({
        "x": [1.5, 2.5, 3.5], "i": [1, 70000, 70000], "s": ["a", "b", "a"],
        "c": pandas.Categorical(["u", "v", "u"]), "p": pandas.period_range("2026-01", periods=3),
        "t": pandas.date_range("2026-01-01", periods=3, tz="Europe/Berlin"),
        "n": pandas.Categorical([70000, 1, 70000]),
    }, index=[5, 4, 70000])
    frame.to_pickle("frame.pkl")
    joblib.dump(frame, "frame.joblib")
    for name, model in (
        ("forest", sklearn.ensemble.RandomForestRegressor(5, random_state=0)),
        ("near", sklearn.neighbors.KNeighborsRegressor(1, algorithm="kd_tree")),
    ):
        model.fit(x, 3 * x[:, 0])
        joblib.dump(model, f"{name}.joblib")
        with open(f"{name}.pkl", "wb") as file:
            pickle.dump(model, file)
        joblib.dump(model.predict(x), f"{name}.predicted")
    model = xgboost.XGBRegressor(n_estimators=20, n_jobs=1).fit(x, x[:, 0])
    model.save_model("x.ubj")
    model.save_model("x.json")
    torch.save({"w": torch.tensor([1.5, 70000.0])}, "state.pt")
    linear = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(linear.weight, 2.0)
    torch.nn.init.constant_(linear.bias, 0.5)
    torch.jit.save(torch.jit.script(linear), "script.pt")
    weights = onnx.numpy_helper.from_array(numpy.array([[2.0], [3.0]], "f4"), "w")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [value("x", 1, [1, 2])], [value("y", 1, [1, 1])], [weights],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), "x.onnx")
    stata = pandas.DataFrame({"x": [1.5, 70000.0], "i": [1, 70000], "s": ["Grüße", "b"]})
    stata.to_stata("x.dta", version=118, write_index=False)
    stata.to_stata("long.dta", version=118, write_index=False, convert_strl=["s"])
    for form in ("png", "tiff"):
        image = (numpy.arange(4, dtype="u2") * 1000).reshape(2, 2)
        PIL.Image.fromarray(image).save(f"x.{form}")
    print("written")
    """

#: Prints for each use of a file whether it gives the right numbers, wrong ones, or an error.
READ = """
    import json, pickle, warnings
    import h5py, joblib, netCDF4, numpy, onnx, onnx.numpy_helper, pandas, torch, xgboost
    import matplotlib, matplotlib.pyplot as plt
    import PIL.Image, scipy.ndimage, scipy.sparse, skimage.filters, sklearn.ensemble
    import sklearn.svm, statsmodels.api
    warnings.simplefilter("ignore")
    matplotlib.use("agg")
    x = numpy.arange(40.0).reshape(-1, 1)
    results = {}
    def see(name, check):
        try:
            results[name] = "right" if check() else "wrong"
        except Exception:
            results[name] = "refused"
    def native(thing):
        return pickle.loads(pickle.dumps(thing, protocol=4))
    def netcdf():
        with netCDF4.Dataset("x.nc") as file:
            return numpy.allclose(file["x"][:], x[:, 0])
    def hdf():
        with h5py.File("x.h5") as file:
            return numpy.allclose(file["x"][:], x)
    loaded = numpy.load("x.npy")
    see("npy", lambda: numpy.array_equal(loaded, x) and loaded.dtype.str != x.dtype.str)
    see("npz", lambda: numpy.array_equal(numpy.load("x.npz")["x"], x))
    see("HDF5", hdf)
    see("netCDF", netcdf)

    def drawn(values):
        figure, axes = plt.subplots(figsize=(2, 2))
        axes.imshow(values)
        figure.canvas.draw()
        pixels = numpy.asarray(figure.canvas.buffer_rgba()).copy()
        plt.close(figure)
        return pixels
    uses = {
        "numpy": lambda a: numpy.linalg.svd(a)[1],
        "scipy": lambda a: scipy.ndimage.gaussian_filter(a, 1),
        "scikit-learn": lambda a: sklearn.svm.SVR().fit(a, a[:, 0]).predict(a),
        "trees": lambda a: sklearn.ensemble.RandomForestRegressor(
            5, random_state=0).fit(a, a[:, 0]).predict(a),
        "statsmodels": lambda a: statsmodels.api.OLS(3 * a, a).fit().params,
        "scikit-image": skimage.filters.threshold_otsu,
        "matplotlib": drawn,
        "pandas": lambda a: pandas.Series(a[:, 0]).value_counts().to_numpy(),
        "scipy.sparse": lambda a: scipy.sparse.csr_matrix(a).toarray(),
        "torch": lambda a: torch.from_numpy(a).numpy(),
    }
    for name, use in uses.items():
        see("npy in " + name, lambda: numpy.allclose(use(loaded), use(x)))
        see("converted npy in " + name, lambda: numpy.allclose(use(native(loaded)), use(x)))
    for form in ("ubj", "json"):
        model = xgboost.XGBRegressor()
        model.load_model("x." + form)
        see("xgboost model, " + form, lambda: abs(model.predict(x)[20] - 20) < 0.1)
    see("npy in xgboost", lambda: numpy.allclose(model.predict(loaded), model.predict(x)))
    see("converted npy in xgboost",
        lambda: numpy.allclose(model.predict(native(loaded)), model.predict(x)))

    pickled = pandas.read_pickle("frame.pkl")
    for way, frame in (("pickled frame", pickled), ("converted frame", native(pickled)),
                       ("frame of joblib", joblib.load("frame.joblib"))):
        see(way + ", sum", lambda: frame.x.sum() == 7.5)
        see(way + ", groups", lambda: frame.groupby("c").x.sum().to_dict() == {"u": 5, "v": 2.5})
        see(way + ", numbered groups", lambda: frame.groupby("n").x.sum().to_dict()
            == {1: 2.5, 70000: 5})
        see(way + ", index", lambda: frame.loc[70000].x == 3.5)
        see(way + ", period", lambda: str(frame.p.min()) == "2026-01-01")
        see(way + ", time", lambda: str(frame.t.max())[:10] == "2026-01-03")
        see(way + ", get", lambda: frame.set_index("i").x.get(1) == 1.5)
    for name in ("forest", "near"):
        wanted = joblib.load(name + ".predicted")
        see(name + " of joblib",
            lambda: numpy.allclose(joblib.load(name + ".joblib").predict(x), wanted))
        see("pickled " + name,
            lambda: numpy.allclose(pickle.load(open(name + ".pkl", "rb")).predict(x), wanted))
    see("torch.save",
        lambda: torch.load("state.pt", weights_only=True)["w"].tolist() == [1.5, 70000])
    see("TorchScript", lambda: torch.jit.load("script.pt")(torch.ones(1, 1)).item() == 2.5)
    see("ONNX", lambda: onnx.numpy_helper.to_array(
        onnx.load("x.onnx").graph.initializer[0]).tolist() == [[2.0], [3.0]])
    def stata(name):
        return pandas.read_stata(name).to_dict("list") == {
            "x": [1.5, 70000.0], "i": [1, 70000], "s": ["Grüße", "b"]}
    see("Stata", lambda: stata("x.dta"))
    see("Stata with long strings", lambda: stata("long.dta"))
    for form in ("png", "tiff"):
        see(form, lambda: numpy.asarray(PIL.Image.open("x." + form)).ravel().tolist()
            == [0, 1000, 2000, 3000])
    import onnxruntime
    session = onnxruntime.InferenceSession("x.onnx", providers=["CPUExecutionProvider"])
    asked = {"x": numpy.ones((1, 2), "f4")}
    see("ONNX in onnxruntime", lambda: session.run(None, asked)[0].tolist() == [[5.0]])
    print(json.dumps(results))
    """

#: What ends in an error, and what in wrong numbers without one. All else is right.
REFUSED = {
    "npy in pandas",
    "npy in scipy.sparse",
    "npy in torch",
    "pickled frame, sum",
    "pickled frame, groups",
    "pickled frame, numbered groups",
    "pickled frame, index",
    "pickled near",
    "Stata with long strings",
}
WRONG = {"npy in xgboost", "pickled frame, period", "pickled frame, get", "TorchScript"}


@pytest.fixture(scope="module")
def machines(engine: docker.DockerClient) -> dict[str, str]:
    """Images with the same packages for s390x and for this machine, which stands for a PC."""
    if native(engine) == Z:
        pytest.skip("needs the engine of a PC, with s390x emulated")
    return {
        platform: built(engine, name, *DEFAULT, *SETS, platform=platform)
        for platform, name in ((Z, "order-z"), (native(engine), "order-pc"))
    }


def script(code: str) -> str:
    """Shell script that runs Python code in the folder of the files."""
    return f"cd /files; python3 - <<'END'\n{textwrap.dedent(code)}END"


@pytest.mark.parametrize("reader", ["s390x", "pc"])
def test_files_of_the_other_machine(
    engine: docker.DockerClient, machines: dict[str, str], tmp_path: Path, reader: str
) -> None:
    tmp_path.chmod(0o777)
    here, there = (Z, native(engine)) if reader == "s390x" else (native(engine), Z)
    folder = [f"{tmp_path}:/files"]
    for platform, code in ((there, WRITE), (here, READ)):
        printed = use(engine, machines[platform], script(code), platform=platform, volumes=folder)
    results = json.loads(printed.splitlines()[-1])
    assert {name for name, result in results.items() if result == "refused"} == REFUSED
    assert {name for name, result in results.items() if result == "wrong"} == WRONG


@pytest.mark.parametrize("package", ["python3-h5py", "python3-xgboost", "python3-sqlalchemy"])
def test_sets_of_the_page_work_on_s390x(
    engine: docker.DockerClient, machines: dict[str, str], package: str
) -> None:
    code, expected = USES[package]
    assert expected in use(engine, machines[Z], code, platform=Z)
