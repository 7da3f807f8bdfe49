#include "src/server/openapi.hpp"

namespace refrain::serve {

const std::string_view openapi = R"json({
  "openapi": "3.0.3",
  "info": {
    "title": "Refrain",
    "version": "1",
    "description": "Recommendations for users by their events. docs/serving.md has the details."
  },
  "paths": {
    "/v1/events": {
      "post": {
        "operationId": "postEvents",
        "summary": "Adds events to their users",
        "parameters": [
          {
            "name": "durable",
            "in": "query",
            "description": "1: the answer waits until the events are on disk",
            "schema": {"type": "string", "enum": ["0", "1"]}
          }
        ],
        "requestBody": {
          "required": true,
          "content": {
            "application/json": {
              "schema": {
                "oneOf": [
                  {"$ref": "#/components/schemas/Event"},
                  {
                    "type": "array",
                    "maxItems": 10000,
                    "items": {"$ref": "#/components/schemas/Event"}
                  }
                ]
              }
            },
            "application/x-ndjson": {"schema": {"type": "string"}}
          }
        },
        "responses": {
          "200": {
            "description": "The events are on disk",
            "content": {
              "application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}
            }
          },
          "202": {
            "description": "The events are accepted",
            "content": {
              "application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}
            }
          },
          "default": {"$ref": "#/components/responses/Error"}
        }
      }
    },
    "/v1/recommend": {
      "post": {
        "operationId": "postRecommend",
        "summary": "The best targets of one or more tasks",
        "requestBody": {
          "required": true,
          "content": {
            "application/json": {
              "schema": {
                "oneOf": [
                  {"$ref": "#/components/schemas/Request"},
                  {
                    "type": "array",
                    "maxItems": 256,
                    "items": {"$ref": "#/components/schemas/Request"}
                  }
                ]
              }
            }
          }
        },
        "responses": {
          "200": {
            "description": "The answer, or a list of answers",
            "content": {
              "application/json": {
                "schema": {
                  "oneOf": [
                    {"$ref": "#/components/schemas/Answer"},
                    {
                      "type": "array",
                      "items": {
                        "oneOf": [
                          {"$ref": "#/components/schemas/Answer"},
                          {"$ref": "#/components/schemas/Error"}
                        ]
                      }
                    }
                  ]
                }
              }
            }
          },
          "default": {"$ref": "#/components/responses/Error"}
        }
      }
    },
    "/v1/users/{user}": {
      "parameters": [{"$ref": "#/components/parameters/user"}],
      "get": {
        "operationId": "getUser",
        "summary": "The newest items of a user",
        "responses": {
          "200": {
            "description": "The items, oldest first",
            "content": {
              "application/json": {
                "schema": {
                  "type": "object",
                  "required": ["user", "items"],
                  "properties": {
                    "user": {"type": "string"},
                    "items": {"type": "array", "items": {"type": "string"}}
                  }
                }
              }
            }
          },
          "default": {"$ref": "#/components/responses/Error"}
        }
      },
      "delete": {
        "operationId": "deleteUser",
        "summary": "Erases a user from memory and files",
        "responses": {
          "204": {"description": "Nothing of the user is left"},
          "default": {"$ref": "#/components/responses/Error"}
        }
      }
    },
    "/v1/tasks": {
      "get": {
        "operationId": "getTasks",
        "summary": "The loaded tasks",
        "responses": {
          "200": {
            "description": "Their names",
            "content": {
              "application/json": {
                "schema": {
                  "type": "object",
                  "required": ["tasks"],
                  "properties": {"tasks": {"type": "array", "items": {"type": "string"}}}
                }
              }
            }
          },
          "default": {"$ref": "#/components/responses/Error"}
        }
      }
    },
    "/v1/tasks/{task}": {
      "parameters": [{"$ref": "#/components/parameters/task"}],
      "put": {
        "operationId": "putTask",
        "summary": "Loads a task from a file (administrators)",
        "requestBody": {
          "required": true,
          "content": {
            "application/json": {
              "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": false,
                "properties": {"file": {"type": "string", "minLength": 1}}
              }
            }
          }
        },
        "responses": {
          "200": {
            "description": "The task is loaded",
            "content": {
              "application/json": {
                "schema": {
                  "type": "object",
                  "required": ["task"],
                  "properties": {"task": {"type": "string"}}
                }
              }
            }
          },
          "default": {"$ref": "#/components/responses/Error"}
        }
      },
      "delete": {
        "operationId": "deleteTask",
        "summary": "Unloads a task (administrators)",
        "responses": {
          "204": {"description": "The task is unloaded"},
          "default": {"$ref": "#/components/responses/Error"}
        }
      }
    },
    "/v1/filters/{filter}": {
      "parameters": [{"$ref": "#/components/parameters/filter"}],
      "put": {
        "operationId": "putFilter",
        "summary": "Replaces a filter as a whole (administrators)",
        "requestBody": {
          "required": true,
          "content": {
            "application/json": {
              "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Name"}}
            },
            "application/x-ndjson": {"schema": {"type": "string"}}
          }
        },
        "responses": {
          "200": {
            "description": "The filter is set",
            "content": {
              "application/json": {
                "schema": {
                  "type": "object",
                  "required": ["filter", "items", "unknown"],
                  "properties": {
                    "filter": {"type": "string"},
                    "items": {"type": "integer"},
                    "unknown": {"type": "integer"}
                  }
                }
              }
            }
          },
          "default": {"$ref": "#/components/responses/Error"}
        }
      },
      "delete": {
        "operationId": "deleteFilter",
        "summary": "Removes a filter (administrators)",
        "responses": {
          "204": {"description": "The filter is removed"},
          "default": {"$ref": "#/components/responses/Error"}
        }
      }
    },
    "/health/live": {
      "get": {
        "operationId": "getLive",
        "summary": "Whether the server runs",
        "security": [],
        "responses": {"200": {"$ref": "#/components/responses/Healthy"}}
      }
    },
    "/health/ready": {
      "get": {
        "operationId": "getReady",
        "summary": "Whether the server takes requests",
        "security": [],
        "responses": {
          "200": {"$ref": "#/components/responses/Healthy"},
          "default": {"$ref": "#/components/responses/Error"}
        }
      }
    },
    "/openapi.json": {
      "get": {
        "operationId": "getOpenapi",
        "summary": "This document",
        "security": [],
        "responses": {
          "200": {
            "description": "This document",
            "content": {"application/json": {"schema": {"type": "object"}}}
          }
        }
      }
    }
  },
  "security": [{"token": []}, {}],
  "components": {
    "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    "parameters": {
      "user": {
        "name": "user",
        "in": "path",
        "required": true,
        "schema": {"type": "string", "minLength": 1}
      },
      "task": {
        "name": "task",
        "in": "path",
        "required": true,
        "schema": {"type": "string", "minLength": 1}
      },
      "filter": {
        "name": "filter",
        "in": "path",
        "required": true,
        "schema": {"type": "string", "minLength": 1}
      }
    },
    "responses": {
      "Healthy": {
        "description": "Yes",
        "content": {
          "application/json": {
            "schema": {"type": "object", "properties": {"status": {"type": "string"}}}
          }
        }
      },
      "Error": {
        "description": "The reason",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
      }
    },
    "schemas": {
      "Name": {
        "description": "A whole number is its decimal digits",
        "oneOf": [{"type": "string", "minLength": 1, "maxLength": 1024}, {"type": "integer"}]
      },
      "Event": {
        "type": "object",
        "required": ["user", "item"],
        "additionalProperties": false,
        "properties": {
          "user": {"$ref": "#/components/schemas/Name"},
          "item": {"$ref": "#/components/schemas/Name"},
          "timestamp": {"description": "Stored if it is a whole number"},
          "time": {"description": "As timestamp"}
        }
      },
      "Accepted": {
        "type": "object",
        "required": ["accepted", "unknown"],
        "properties": {
          "accepted": {"type": "integer"},
          "unknown": {
            "type": "integer",
            "description": "Events of items that the model does not know"
          },
          "position": {
            "type": "integer",
            "description": "Of the newest of the events in the log"
          }
        }
      },
      "Request": {
        "type": "object",
        "additionalProperties": false,
        "description": "Either user or history, and either task or tasks",
        "properties": {
          "user": {"$ref": "#/components/schemas/Name"},
          "history": {
            "type": "array",
            "maxItems": 10000,
            "items": {"$ref": "#/components/schemas/Name"}
          },
          "task": {"$ref": "#/components/schemas/Name"},
          "tasks": {
            "type": "array",
            "minItems": 1,
            "uniqueItems": true,
            "items": {"$ref": "#/components/schemas/Name"}
          },
          "k": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10},
          "exclude": {"type": "array", "items": {"$ref": "#/components/schemas/Name"}},
          "allow": {"type": "array", "items": {"$ref": "#/components/schemas/Name"}},
          "filter": {
            "oneOf": [
              {"$ref": "#/components/schemas/Name"},
              {
                "type": "array",
                "maxItems": 16,
                "uniqueItems": true,
                "items": {"$ref": "#/components/schemas/Name"}
              }
            ]
          },
          "seen": {"type": "string", "enum": ["exclude", "include"]},
          "fallback": {"type": "string", "enum": ["popular", "none"], "default": "popular"}
        }
      },
      "TaskAnswer": {
        "type": "object",
        "required": ["task", "source", "best"],
        "properties": {
          "user": {"type": "string"},
          "task": {"type": "string"},
          "unknown": {"type": "integer"},
          "source": {"type": "string", "enum": ["state", "pass", "popular"]},
          "best": {
            "type": "array",
            "items": {
              "type": "object",
              "required": ["id", "score"],
              "properties": {
                "id": {"type": "string"},
                "title": {"type": "string"},
                "score": {"type": "number"},
                "probability": {"type": "number"}
              }
            }
          }
        }
      },
      "Answer": {
        "oneOf": [
          {"$ref": "#/components/schemas/TaskAnswer"},
          {
            "type": "object",
            "required": ["answers"],
            "properties": {
              "user": {"type": "string"},
              "answers": {"type": "array", "items": {"$ref": "#/components/schemas/TaskAnswer"}}
            }
          }
        ]
      },
      "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
          "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}}
          }
        }
      }
    }
  }
}
)json";

}  // namespace refrain::serve
