package company

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fieldsOf are the fields of an item of the file, as the file names them.
func fieldsOf[E any]() (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[E]()) {
		names = append(names, f.Tag.Get("yaml"))
	}
	return names
}

// decode reads an item of the file, such as "a company": senseless, where it can't be read; strange, where it has
// fields that nobody knows, which are perhaps misspelt. Both name the line.
func decode[E any](n *yaml.Node, what string) (e E, senseless, strange error) {
	senseless = plain(n.Decode(&e))
	fields := fieldsOf[E]()
	if names := strangers(n, fields, map[*yaml.Node]bool{}); len(names) > 0 {
		strange = fmt.Errorf("not a field of %s: %s; its fields are %s", what, strings.Join(names, ", "), strings.Join(fields, ", "))
	}
	return e, senseless, strange
}

// strangers are the fields of an item, and of what it merges, that nobody knows.
func strangers(n *yaml.Node, fields []string, seen map[*yaml.Node]bool) (names []string) {
	if n = target(n); seen[n] {
		return nil
	}
	seen[n] = true
	if n.Kind == yaml.SequenceNode { // several that are merged
		for _, of := range n.Content {
			names = append(names, strangers(of, fields, seen)...)
		}
	}
	if n.Kind != yaml.MappingNode {
		return names
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key := target(n.Content[i]); {
		case key.ShortTag() == "!!merge":
			names = append(names, strangers(n.Content[i+1], fields, seen)...)
		case !slices.Contains(fields, key.Value):
			names = append(names, fmt.Sprintf("%s (line %d)", named(key.Value), key.Line))
		}
	}
	return names
}

// target is what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// named is a field that nobody knows, if it looks like one; anything else may be a secret in the wrong place.
func named(field string) string {
	if fieldLike.MatchString(field) {
		return field
	}
	return "[value]"
}

var (
	fieldLike = regexp.MustCompile(`^[a-z_]{1,40}$`)
	// quoted is what the YAML package cites of a file, from the first sign to the last: a value, which may be
	// a secret and have such signs in it.
	quoted = regexp.MustCompile("(?s)`.*`|(anchor )'.*'|\".*\"")

	lineOf  = regexp.MustCompile(`^line \d+: `)
	unknown = regexp.MustCompile(`(?s)^line \d+: field (.*) not found in type \S+$`)
	cannot  = regexp.MustCompile(`(?s)^line \d+: cannot unmarshal (?:!!(\w+)|\S+) (?:.* )?into (\S+)$`)
	twice   = regexp.MustCompile(`(?s)^line \d+: mapping key .* already defined at (line \d+)$`)
)

// things are YAML's kinds and Go's types in plain words.
var things = map[string]string{
	"str": "a text", "int": "a number", "float": "a number", "bool": "true or false", "null": "nothing", "seq": "a list", "map": "a mapping", "timestamp": "a date",
	"int64": "a whole number", "string": "a text", "[]string": "a list of texts", "map[string]string": "a mapping of texts",
	"[]yaml.Node": "a list of companies", "company.entry": "a mapping with a company's fields", "company.file": "a mapping with companies",
	"company.clientNodes": "a list of clients", "company.clientEntry": "a mapping with a client's fields",
}

// plain is the YAML package's error in plain words, without what it cites: the line it names is enough.
func plain(err error) error {
	if err == nil {
		return nil
	}
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		return errors.New(quoted.ReplaceAllString(err.Error(), "${1}[value]"))
	}
	var errs []error
	for _, line := range typed.Errors {
		errs = append(errs, errors.New(lineOf.FindString(line)+mistake(line)))
	}
	return errors.Join(errs...)
}

// mistake is one of the YAML package's in our words: of its own none but what is known to be no value.
func mistake(line string) string {
	if m := unknown.FindStringSubmatch(line); m != nil {
		return named(m[1]) + " is no field of the companies file, which has clients and companies"
	}
	if m := cannot.FindStringSubmatch(line); m != nil {
		return fmt.Sprintf("%s stands where %s belongs", cmp.Or(things[m[1]], "something else"), cmp.Or(things[m[2]], "another thing"))
	}
	if m := twice.FindStringSubmatch(line); m != nil {
		return "a field that stands at " + m[1] + " already"
	}
	return "can't be read"
}
