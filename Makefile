# The two commands of the README. Both work in a fresh clone, as root or not; as root they
# install the Debian packages they miss.
#
#   make demo    a fresh environment, a base image, a build, a run
#   make test    everything there is to check; as root also as a plain user
#   make clean   remove what the two made in this folder

PYTHON ?= python3
DEMO := .demo
LAMINA := $(DEMO)/venv/bin/lamina --root $(DEMO)/store

# In CI nothing may be skipped for want of a tool or a permission.
export LAMINA_REQUIRE_ALL ?= $(if $(CI),1,0)
# Where Python keeps no compiled modules, every command compiles a hundred of them first.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test clean

demo:
	@tests/prepare.sh python3-venv apt dpkg tar
	@echo "== a fresh environment"
	$(PYTHON) -m venv --clear $(DEMO)/venv
	$(DEMO)/venv/bin/pip install -qq .
	@echo "== a base image"
	fixtures/busybox_rootfs.sh $(DEMO)/busybox.tar
	$(LAMINA) import --change 'CMD ["sh"]' $(DEMO)/busybox.tar busybox
	@echo "== build"
	$(LAMINA) build -t hello fixtures/Dockerfiles/hello
	@echo "== run"
	$(LAMINA) run --rm hello

test: .venv/installed
	@tests/prepare.sh $$(grep -v '^#' tests/packages.txt)
	@status=0; \
	.venv/bin/python -m pytest -n auto --dist loadgroup || status=1; \
	echo "== what takes lark's checker of grammars"; \
	PYTHONPATH=.venv/checker .venv/bin/python -m pytest -q tests/grammar -k unambiguous || status=1; \
	if [ "$$(id -u)" -eq 0 ]; then tests/as_plain_user.sh || status=1; fi; \
	exit $$status

# The checker stands apart: where lark sees it, every build pays for it (see pyproject.toml).
.venv/installed: pyproject.toml
	@tests/prepare.sh python3-venv
	$(PYTHON) -m venv --clear .venv
	.venv/bin/pip install -qq --upgrade pip
	.venv/bin/pip install -qq --editable '.[test]'
	.venv/bin/pip install -qq --target .venv/checker interegular
	@touch $@

# Layers hold files of a plain user's subordinate ids: only a user namespace can remove them.
clean:
	@inside=; [ "$$(id -u)" -eq 0 ] || inside="unshare --user --map-root-user --map-auto"; \
	$$inside true 2>/dev/null || inside=; \
	$$inside rm -rf --one-file-system $(DEMO) .venv build dist *.egg-info
