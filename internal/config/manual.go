package config

import (
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

const manualHead = `# Settings

Each setting can be given by flag, in the environment, in a YAML file (` + "`--config tandem.yaml`" + `) or not at all; the
first of these that has it wins. An empty value counts as not set. Without any, the server listens on loopback only.
Names that do not exist are errors, and all errors are reported at once.

| in the file | environment | flag | default | meaning |
|---|---|---|---|---|
`

// Doc writes the manual of all settings as Markdown.
func Doc(w io.Writer) error {
	var b strings.Builder
	b.WriteString(manualHead)
	for _, f := range Fields() {
		value := ""
		if f.Default != "" {
			value = "`" + f.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | `--%s` | %s | %s |\n", f.Key, f.Env, f.Flag, value, f.Doc)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Print writes the effective settings as a YAML file that Load takes back,
// each with where it came from. A secret is hidden, and commented out so that
// the hidden text is never taken for a value.
func (c Config) Print(w io.Writer) error {
	var b strings.Builder
	for _, s := range settings() {
		if s.fileOf != "" {
			continue
		}
		value, err := quoted(s.get(c))
		if err != nil {
			return fmt.Errorf("write %s: %w", s.Key, err)
		}
		if s.Secret && s.get(c) != "" {
			b.WriteString("# ")
		}
		fmt.Fprintf(&b, "%s: %s  # %s\n", s.Key, value, c.origins[s.Key])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// quoted gives text as a YAML scalar on one line.
func quoted(text string) (string, error) {
	node := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if strings.ContainsAny(text, "#'\"\\") {
		node.Style = yaml.DoubleQuotedStyle
	}
	raw, err := yaml.Marshal(&node)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(raw), "\n"), nil
}
