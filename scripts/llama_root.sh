#!/usr/bin/env bash
# llama_root.sh DIR: a root tree with a real llama-server (Debian sid, unpacked with dpkg-deb, 48 MB), a
# deterministic tiny model and a self-signed certificate in DIR/srv/m. The host's apt is not touched.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(realpath -m "$1")
[ ! -e "$dir/ok" ] || exit 0
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -m1 '/debian/\?$' | sed 's,/$,,')
rm -rf "$dir" "$dir.apt"
mkdir -p "$dir"/{proc,dev,tmp,srv/m,etc} "$dir.apt"/{lists/partial,cache/archives/partial}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" > "$dir.apt/sources.list"
cat > "$dir.apt/apt.conf" <<C
Dir::State "$dir.apt"; Dir::State::lists "$dir.apt/lists"; Dir::State::status "/dev/null";
Dir::Cache "$dir.apt/cache"; Dir::Etc::sourcelist "$dir.apt/sources.list";
Dir::Etc::sourceparts "/dev/null"; Dir::Etc::preferencesparts "/dev/null"; APT::Sandbox::User "root";
C
export APT_CONFIG=$dir.apt/apt.conf
apt-get -qq update
(cd "$dir.apt" && apt-get -qq download llama.cpp-tools libllama0 libggml0 libssl3t64 libc6 libgcc-s1 \
  libstdc++6 libgomp1 zlib1g libzstd1)
unset APT_CONFIG
ln -sfn usr/lib "$dir/lib"; ln -sfn usr/lib64 "$dir/lib64"; ln -sfn usr/bin "$dir/bin"
for package in "$dir.apt"/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$dir" --keep-directory-symlink --exclude=./usr/share
done
python3 "$here/tiny_model.py" "$dir/srv/m/tiny.gguf"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=localhost \
  -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' \
  -keyout "$dir/srv/m/key.pem" -out "$dir/srv/m/cert.pem" 2>/dev/null
rm -rf "$dir.apt"
touch "$dir/ok"
