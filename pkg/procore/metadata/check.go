package metadata

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// rules are the validations that Procore supports, and whether each needs a length.
var rules = map[string]bool{
	"present": false, "numeric": false, "positive": false, "format": false, "disallow_division": false,
	"max_length": true, "max_line_length": true, "max_length_decimal": true, "max_length_units": true,
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// check returns an error for everything that Procore would not understand. Each error begins with the path of
// its field.
func check(settings object) error {
	c := &checker{}
	c.fields("", settings, map[string]func(string, any){
		"labels":         c.labels,
		"configurations": c.configurations,
		"entities":       c.entities,
	})
	return errors.Join(c.errs...)
}

type checker struct{ errs []error }

func (c *checker) fail(path, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
}

// each calls f for each field of an object, by name.
func (c *checker) each(path string, v any, f func(path, name string, v any)) {
	o, isObject := v.(object)
	if !isObject {
		c.fail(path, "must be an object")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		f(strings.TrimPrefix(path+"."+name, "."), name, o[name])
	}
}

// fields checks an object that may have only known fields.
func (c *checker) fields(path string, v any, known map[string]func(path string, v any)) {
	c.each(path, v, func(path, name string, v any) {
		if f := known[name]; f != nil {
			f(path, v)
			return
		}
		c.fail(path, "is unknown; the known fields are %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	})
}

func (c *checker) text(path string, v any) {
	if _, is := v.(string); !is {
		c.fail(path, "must be a text")
	}
}

func (c *checker) yesNo(path string, v any) {
	if _, is := v.(bool); !is {
		c.fail(path, "must be true or false")
	}
}

func (c *checker) length(path string, v any) {
	if n, is := v.(int); !is || n <= 0 {
		c.fail(path, "must be a positive whole number")
	}
}

func (c *checker) labels(path string, v any) {
	c.fields(path, v, map[string]func(string, any){"name": c.text, "id_name": c.text, "short_name": c.text})
}

func (c *checker) configurations(path string, v any) {
	c.fields(path, v, map[string]func(string, any){
		"features": func(path string, v any) { c.each(path, v, c.config) },
		"settings": func(path string, v any) { c.each(path, v, func(path, _ string, v any) { c.text(path, v) }) },
	})
}

func (c *checker) entities(path string, v any) {
	c.each(path, v, func(path, name string, v any) {
		if !slices.ContainsFunc(entities, func(e entity) bool { return e.name == name }) {
			c.fail(path, "is not an entity of Procore's ERP tool; its entities are %s", strings.Join(names(), ", "))
			return
		}
		c.fields(path, v, map[string]func(string, any){
			"enabled": c.yesNo,
			"configs": func(path string, v any) { c.each(path, v, c.config) },
			"tab":     c.tab,
			"rules":   c.actions,
		})
	})
}

func names() (all []string) {
	for _, e := range entities {
		all = append(all, e.name)
	}
	return all
}

// config checks {"enabled": true} or {"text": "…"}, which may have nested configs, and the custom fields of
// an export.
func (c *checker) config(path, name string, v any) {
	if !nameForm.MatchString(name) {
		c.fail(path, "%q is not a valid name: it may only contain a-z, 0-9 and _", name)
		return
	}
	c.each(path, v, func(path, name string, v any) {
		_, isText := v.(string)
		switch {
		case name == "enabled":
			c.yesNo(path, v)
		case name == "custom_fields":
			c.customFields(path, v)
		case !isText:
			c.config(path, name, v)
		}
	})
}

// customFields checks the fields that Procore asks for in addition to the record when it is exported.
func (c *checker) customFields(path string, v any) {
	list, isList := v.([]any)
	if !isList {
		c.fail(path, "must be a list")
	}
	for i, item := range list {
		c.fields(fmt.Sprintf("%s[%d]", path, i), item, map[string]func(string, any){
			"key": c.text, "label": c.text, "type": c.text,
			"rules": func(path string, v any) {
				c.fields(path, v, map[string]func(string, any){"validation": c.validation})
			},
		})
	}
}

func (c *checker) tab(path string, v any) {
	c.fields(path, v, map[string]func(string, any){
		"enabled": c.yesNo,
		"columns": func(path string, v any) {
			c.each(path, v, func(path, _ string, v any) {
				c.fields(path, v, map[string]func(string, any){"enabled": c.yesNo, "text": c.text})
			})
		},
	})
}

// actions checks the rules of an export and of a save.
func (c *checker) actions(path string, v any) {
	action := func(path string, v any) {
		c.fields(path, v, map[string]func(string, any){
			"warning_message": func(path string, v any) {
				c.fields(path, v, map[string]func(string, any){"enabled": c.yesNo, "message": c.text})
			},
			"fields": func(path string, v any) {
				c.each(path, v, func(path, _ string, v any) {
					c.fields(path, v, map[string]func(string, any){"enabled": c.yesNo, "validation": c.validation})
				})
			},
		})
	}
	c.fields(path, v, map[string]func(string, any){"export": action, "save": action})
}

func (c *checker) validation(path string, v any) {
	c.each(path, v, func(path, name string, v any) {
		needsLength, known := rules[name]
		if !known {
			c.fail(path, "is not a rule; the rules are %s", strings.Join(slices.Sorted(maps.Keys(rules)), ", "))
			return
		}
		may := map[string]func(string, any){"enabled": c.yesNo, "message": c.text}
		if needsLength {
			may["length"] = c.length
			if o, is := v.(object); is && o["length"] == nil {
				c.fail(path+".length", "is missing: the maximum length")
			}
		}
		c.fields(path, v, may)
	})
}
