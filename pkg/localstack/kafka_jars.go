package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

const (
	// KafkaVersion is the Apache Kafka that StartKafka runs.
	KafkaVersion = "4.3.1"
	log4jVersion = "2.25.3"
	pluginName   = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
	minJava      = 17
	// fetchLimit bounds one fetch: 44 MB and Maven's own plug-ins.
	fetchLimit = 10 * time.Minute
)

// pom asks Maven for the broker and a logger. The verbs are both versions.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>waybill.internal</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>%s</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>%s</version>
    </dependency>
  </dependencies>
</project>
`

// FetchKafka makes sure that Kafka's jars are in the cache, fetching them (44 MB)
// with Maven the first time, and returns the classpath. Processes that call it at
// the same time fetch once.
func FetchKafka(ctx context.Context) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	jars := filepath.Join(cache, "kafka-"+KafkaVersion)
	if path, err := classpath(jars); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	lock, err := waitLock(ctx, jars+".lock")
	if err != nil {
		return "", fmt.Errorf("fetch kafka: %w", err)
	}
	defer lock.Close()
	if path, err := classpath(jars); err == nil { // another process was quicker
		return path, nil
	}
	if err := copyJars(ctx, cache, jars); err != nil {
		return "", fmt.Errorf("fetch kafka %s: %w", KafkaVersion, err)
	}
	return classpath(jars)
}

// copyJars fetches into a scratch folder and renames it: a folder of the final
// name is complete.
func copyJars(ctx context.Context, cache, jars string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("it needs Maven, once: install the package maven: %w", err)
	}
	scratch, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	pomFile := filepath.Join(scratch, "pom.xml")
	if err := os.WriteFile(pomFile, fmt.Appendf(nil, pom, KafkaVersion, log4jVersion), 0o644); err != nil {
		return err
	}
	out := filepath.Join(scratch, "jars")
	cmd := exec.CommandContext(ctx, mvn, "--batch-mode", "--quiet", "-f", pomFile, pluginName,
		"-DoutputDirectory="+out, "-DincludeScope=runtime")
	cmd.Dir = scratch
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w:\n%s", cmd.Path, err, text)
	}
	if _, err := classpath(out); err != nil {
		return err
	}
	if err := os.Chmod(scratch, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(jars); err != nil { // incomplete, or we would not be here
		return err
	}
	return os.Rename(out, jars)
}

// classpath joins the folder's jars, in a fixed order, after checking that the
// broker itself is among them.
func classpath(jars string) (string, error) {
	files, err := filepath.Glob(filepath.Join(jars, "*.jar"))
	if err != nil {
		return "", err
	}
	broker := false
	for _, file := range files {
		broker = broker || filepath.Base(file) == "kafka_2.13-"+KafkaVersion+".jar"
	}
	if !broker {
		return "", fmt.Errorf("%s does not hold Kafka %s", jars, KafkaVersion)
	}
	sort.Strings(files)
	return strings.Join(files, string(os.PathListSeparator)), nil
}

// javaMajor reads the major version from what `java -version` prints, such as
// `openjdk version "17.0.15" 2025-04-15`, or `java version "1.8.0_402"` for 8.
func javaMajor(text string) (int, error) {
	_, rest, found := strings.Cut(text, `version "`)
	if !found {
		return 0, errors.New("its version is not readable")
	}
	version, _, _ := strings.Cut(rest, `"`)
	version = strings.TrimPrefix(version, "1.")
	digits := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(version)
	}
	major, err := strconv.Atoi(version[:digits])
	if err != nil {
		return 0, fmt.Errorf("its version %q is not readable", version)
	}
	return major, nil
}
