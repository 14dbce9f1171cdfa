"""Which of the 250 photographs' subjects are of one kind, by hand: what would do for one another."""

from __future__ import annotations

_KINDS = {
    "bird": (
        "robin, magpie, bald eagle, vulture, quail, lorikeet, hornbill, jacamar, toucan, drake, "
        "spoonbill, flamingo, ruddy turnstone"
    ),
    "lizard": "alligator lizard, Gila monster, green lizard, Komodo dragon",
    "snake": "hognose snake, king snake, water snake, boa constrictor, rock python",
    "spider": "black and gold garden spider, black widow",
    "dog": (
        "Maltese dog, bloodhound, bluetick, English foxhound, otterhound, Scottish deerhound, "
        "Sealyham terrier, Airedale, cairn, Australian terrier, giant schnauzer, Tibetan terrier, "
        "West Highland white terrier, curly-coated retriever, Gordon setter, Brittany spaniel, "
        "cocker spaniel, Sussex spaniel, kelpie, komondor, Old English sheepdog, Appenzeller, "
        "EntleBucher, bull mastiff, dalmatian, Leonberg, Great Pyrenees, toy poodle, miniature "
        "poodle"
    ),
    "wolf or fox": "timber wolf, white wolf, dhole, hyena, red fox, kit fox",
    "bear": "brown bear, sloth bear",
    "beetle": "ladybug, rhinoceros beetle, weevil",
    "butterfly": "admiral, cabbage butterfly, sulphur butterfly",
    "monkey": "siamang, capuchin",
    "hare or rabbit": "hare, Angora",
    "wild pig": "hog, wild boar",
    "musical instrument": "acoustic guitar, bassoon, brass, drum, flute, French horn, grand piano, oboe, sax",
    "car": "passenger car, racer, sports car, car mirror, car wheel",
    "bus": "minibus, trolleybus",
    "motorcycle": "moped, motor scooter",
    "clock": "digital clock, wall clock, digital watch, hourglass",
    "hat": "cowboy hat, sombrero, mortarboard, crash helmet",
    "pen": "ballpoint, fountain pen",
    "tape player": "cassette player, tape player",
    "computer": "computer keyboard, typewriter keyboard, laptop",
    "coffee": "espresso, espresso maker, coffeepot",
    "ball": "baseball, soccer ball",
    "shop": "butcher shop, grocery store, barbershop",
    "church or temple": "church, mosque, stupa, bell cote, triumphal arch",
    "meal": "cheeseburger, hotdog, meat loaf, plate",
    "dessert": "trifle, ice cream, chocolate sauce",
    "fruit": "pineapple, custard apple",
    "under water": "coral reef, scuba diver, sea cucumber, snorkel, puffer",
    "mushroom": "coral fungus, earthstar",
    "safe": "safe, vault",
    "cart": "horse cart, oxcart",
    "tool": "hammer, hatchet, carpenter's kit, screw, file",
    "bottle or jug": "pitcher, whiskey jug, lotion, goblet, beaker",
    "shirt": "jersey, sweatshirt",
}
KINDS = {kind: tuple(names.split(", ")) for kind, names in _KINDS.items()}


def kind_of(name: str) -> str:
    """The kind that a subject belongs to; itself where it has none."""
    return next((kind for kind, names in KINDS.items() if name in names), name)
