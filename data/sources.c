/* The eight data sets. A SHA-256 stands here only where independent projects agree on it for the
 * publisher's address; the others are recorded beside the file when it is first fetched. */
#include "data/sources.h"

#include <string.h>

static const struct source wikitext = {
    .set = "wikitext",
    .archive = "wikitext-2-raw-v1.zip",
    .files = {{"wikitext-2-raw-v1.zip", "https://wikitext.smerity.com/wikitext-2-raw-v1.zip",
               "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11", 4721645}},
    .members = {"wikitext-2-raw/wiki.test.raw"},
    .n_documents = 4358,
    .licence = "CC BY-SA 3.0",
    .about = "WikiText-2, raw: Wikipedia's good and featured articles, for perplexity",
};

static const struct source piqa = {
    .set = "piqa",
    .files = {{"valid.jsonl", "https://yonatanbisk.com/piqa/data/valid.jsonl",
               "93503cc97c679e459b065c3d13e848282e44b2a25213985bed3e5d458abef72d", 495929},
              {"valid-labels.lst", "https://yonatanbisk.com/piqa/data/valid-labels.lst",
               "b4192dc3a2a0363d9d60ccf79800cbbe2f32ebb17726efdde6970e0b8131bceb", 3676}},
    .n_documents = 1838,
    .licence = "AFL-3.0",
    .about = "PIQA: everyday physical goals, the better of two ways",
};

static const struct source hellaswag = {
    .set = "hellaswag",
    .files = {{"hellaswag_val.jsonl",
               "https://raw.githubusercontent.com/rowanz/hellaswag/master/data/hellaswag_val.jsonl",
               "0aa3b88843990f3f10a97b9575c94d7b71fb2205240ba04ae4884d9e9c992588", 12246618}},
    .n_documents = 10042,
    .licence = "MIT",
    .about = "HellaSwag: the likely one of four endings of a scene",
};

/* The archive was replaced once under the same name; this is the hash of the later one. */
static const struct source winogrande = {
    .set = "winogrande",
    .archive = "winogrande_1.1.zip",
    .files = {{"winogrande_1.1.zip",
               "https://storage.googleapis.com/ai2-mosaic/public/winogrande/winogrande_1.1.zip",
               "3619ab104d8be2977b25c90ff420cb42d491707dcc75362a1e5d22bc082b7318", 0}},
    .members = {"winogrande_1.1/dev.jsonl"},
    .n_documents = 1267,
    .licence = "CC BY",
    .about = "WinoGrande: which of two names a blank stands for",
};

static const struct source arc = {
    .set = "arc",
    .archive = "ARC-V1-Feb2018.zip",
    .files = {{"ARC-V1-Feb2018.zip",
               "https://ai2-public-datasets.s3.amazonaws.com/arc/ARC-V1-Feb2018.zip",
               "6d2d5ab50b2ceec6ba5f79c921be77cf2de712ea25a2b3f4fff3acc101cecfa0", 680841265}},
    .members = {"ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Test.jsonl",
                "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Test.jsonl"},
    .n_documents = 2376 + 1172,
    .licence = "CC BY-SA 4.0",
    .about = "ARC: grade-school science questions, an easy and a challenge set",
};

static const struct source openbookqa = {
    .set = "openbookqa",
    .archive = "OpenBookQA-V1-Sep2018.zip",
    .files = {{"OpenBookQA-V1-Sep2018.zip",
               "https://ai2-public-datasets.s3.amazonaws.com/open-book-qa/"
               "OpenBookQA-V1-Sep2018.zip",
               "82368cf05df2e3b309c17d162e10b888b4d768fad6e171e0a041954c8553be46", 1446098}},
    .members = {"OpenBookQA-V1-Sep2018/Data/Main/test.jsonl"},
    .n_documents = 500,
    .licence = "Apache-2.0",
    .about = "OpenBookQA: elementary science questions that need a fact and common sense",
};

static const struct source boolq = {
    .set = "boolq",
    .archive = "BoolQ.zip",
    .files = {{"BoolQ.zip", "https://dl.fbaipublicfiles.com/glue/superglue/data/v2/BoolQ.zip",
               "853fbe7922f70c59629f06a39e8d9ca440c3d740e760fd3b87a5ddf3dcba2436", 0}},
    .members = {"BoolQ/val.jsonl"},
    .n_documents = 3270,
    .licence = "CC BY-SA 3.0",
    .about = "BoolQ (SuperGLUE): yes/no questions about a passage",
};

static const struct source c4 = {
    .set = "c4",
    .files = {{"en/c4-train.00000-of-01024.json.gz",
               "https://huggingface.co/datasets/allenai/c4/resolve/main/en/"
               "c4-train.00000-of-01024.json.gz",
               NULL, 0}},
    .n_documents = 356317,
    .licence = "ODC-BY",
    .about = "C4: cleaned web text, first training shard, for calibration",
};

const struct source *const sources[] = {
    &wikitext, &piqa, &hellaswag, &winogrande, &arc, &openbookqa, &boolq, &c4, NULL,
};

const struct source *source_find(const char *set)
{
    for (size_t i = 0; sources[i]; i++)
        if (strcmp(sources[i]->set, set) == 0)
            return sources[i];
    return NULL;
}
