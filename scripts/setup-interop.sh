#!/usr/bin/env bash
# setup-interop.sh FOLDER: the official gRPC interop test client and what it needs, 56 MB of jars from
# Maven Central, into FOLDER. Installs a Java runtime and Maven with apt when they are missing. Quick when
# all is there: the copy of pom.xml inside FOLDER is written last, so that an interrupted set-up is done
# again.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
pom=test-support/peers/interop/pom.xml
copy=org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies

scripts/setup-apt.sh java=default-jre-headless
cmp -s "$pom" "$folder/pom.xml" && exit 0

scripts/setup-apt.sh mvn=maven
echo "setup: the gRPC interop test client into $folder"
rm -rf "$folder"
mkdir -p "$folder"
# What Maven itself downloads to do this stays beside it, and not in the user's home.
mvn --quiet --batch-mode -Dstyle.color=never -f "$pom" -Dmaven.repo.local="$PWD/$folder/maven" "$copy" \
    -DincludeScope=runtime -DoutputDirectory="$PWD/$folder/jars" || {
    echo 'setup: Maven did not fetch the client, see above; it needs a network' >&2
    exit 1
}
rm -rf "$folder/maven"
cp "$pom" "$folder/pom.xml"
